#include <lolcats/io/folder_lock.hpp>

#include "support.hpp"

#include <csignal>

#include <sys/wait.h>

using namespace lolcats;
using namespace io_test;

namespace {

std::string refusal(const std::filesystem::path& folder) {
  try {
    const FolderLock lock(folder);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a locked folder is refused, by the name of who holds it, until it is free") {
  const TemporaryFolder folder;
  const std::filesystem::path file = folder / "run.lock";
  {
    const FolderLock lock(file.parent_path());
    CHECK(get(file).find(fmt::format(" {} since ", ::getpid())) != std::string::npos);
    CHECK(refusal(file.parent_path()) == file.string() + ": another run writes into this folder: " + get(file));
    CHECK(path_exists(file));  // whoever is refused leaves it there
  }
  CHECK_FALSE(path_exists(file));
  CHECK(refusal(file.parent_path()).empty());
}

TEST_CASE("the lock of a process that was killed is taken over") {
  const TemporaryFolder folder;
  const std::filesystem::path file = folder / "run.lock";
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const FolderLock lock(file.parent_path());
    const bool told = ::write(ready[1], "x", 1) == 1;
    while (told) ::pause();
    ::_exit(1);
  }
  char byte = 0;
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  CHECK(refusal(file.parent_path()).find(fmt::format(" {} since ", child)) != std::string::npos);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(ready[0]);
  ::close(ready[1]);
  CHECK(path_exists(file));
  CHECK(refusal(file.parent_path()).empty());
}

TEST_CASE("a folder that is none cannot be locked") {
  const TemporaryFolder folder;
  put(folder / "file", "");
  CHECK_THROWS_AS(FolderLock(folder / "file"), FileError);
  CHECK_THROWS_AS(FolderLock(folder / "missing"), FileError);
}
