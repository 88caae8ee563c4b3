#include <lolcats/io/file.hpp>

#include "support.hpp"

#include <csignal>
#include <stdexcept>

#include <sys/resource.h>
#include <sys/wait.h>

using namespace lolcats;
using namespace io_test;

namespace {

/// Runs f in a child process and returns how that ended (waitpid's status).
template <class F>
int in_child(F&& f) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    int code = 99;
    try {
      code = f();
    } catch (...) {
      code = 98;
    }
    ::_exit(code);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return status;
}

}  // namespace

TEST_CASE("a mapped file shows the bytes of the file") {
  const TemporaryFolder folder;
  const std::string text("one\0two\n", 8);
  put(folder / "a", text);
  CHECK(MappedFile(folder / "a").text() == text);
  CHECK(MappedFile(folder / "a").bytes().size() == 8);
  CHECK(read_text(folder / "a") == text);

  put(folder / "empty", "");
  CHECK(MappedFile(folder / "empty").bytes().empty());
  CHECK(read_text(folder / "empty").empty());
}

TEST_CASE("what cannot be mapped is a FileError that names the path") {
  const TemporaryFolder folder;
  check_throws<FileError>([&] { MappedFile(folder / "none"); }, {(folder / "none").string(), "No such file"});
  check_throws<FileError>([&] { MappedFile{folder}; }, {"is not a regular file"});
  check_throws<FileError>([&] { MappedFile("/dev/zero"); }, {"/dev/zero", "is not a regular file"});
}

TEST_CASE("a pointer of Git LFS in place of a file is named, a text about one is read") {
  const TemporaryFolder folder;
  const std::string line = "version https://git-lfs.github.com/spec/v1\n";
  put(folder / "pointer", line + "oid sha256:00\nsize 12345\n");
  check_throws<FormatError>([&] { MappedFile(folder / "pointer"); },
                            {(folder / "pointer").string(), "is a Git LFS pointer", "git lfs pull"});
  put(folder / "text", "A pointer begins so: " + line);
  CHECK_NOTHROW(MappedFile(folder / "text"));
  put(folder / "long", line + std::string(1000, ' '));
  CHECK_NOTHROW(MappedFile(folder / "long"));
}

TEST_CASE("a written file is whole and leaves no temporary") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "a", std::string_view("first, and longer"));
  CHECK(get(folder / "a") == "first, and longer");
  write_file_atomically(folder / "a", [](FileWriter& writer) {
    writer.write(std::string_view("sec"));
    writer.write(std::string_view(""));
    writer.write(std::string_view("ond"));
  });
  CHECK(get(folder / "a") == "second");
  write_file_atomically(folder / "empty", std::string_view());
  CHECK(get(folder / "empty").empty());
  CHECK(folder.count() == 2);
}

TEST_CASE("a writer that throws leaves the old file as it was") {
  const TemporaryFolder folder;
  put(folder / "a", "old");
  CHECK_THROWS_WITH_AS(write_file_atomically(folder / "a",
                                             [](FileWriter& writer) {
                                               writer.write(std::string_view("half"));
                                               throw std::runtime_error("no more");
                                             }),
                       "no more", std::runtime_error);
  CHECK(get(folder / "a") == "old");
  CHECK(folder.count() == 1);
}

TEST_CASE("targets that cannot be files are refused before anything is written") {
  const TemporaryFolder folder;
  const auto write = [](const std::filesystem::path& path) { write_file_atomically(path, std::string_view("x")); };
  check_throws<FileError>([&] { write(folder / "none" / "a"); }, {(folder / "none" / "a").string(), "No such file"});
  std::filesystem::create_directory(folder / "sub");
  check_throws<FileError>([&] { write(folder / "sub"); }, {"sub", "is not a regular file"});
  check_throws<FileError>([&] { write("/dev/full"); }, {"/dev/full", "is not a regular file"});
  CHECK(std::filesystem::is_character_file("/dev/full"));
  CHECK(folder.count() == 1);
}

TEST_CASE("a device that takes no bytes is a FileError with the offset") {
  const detail::Descriptor full(::open("/dev/full", O_WRONLY));
  REQUIRE(full.get() >= 0);
  FileWriter writer(full.get(), "model.safetensors");
  check_throws<FileError>([&] { writer.write(std::string_view("x")); },
                          {"model.safetensors", "cannot write 1 bytes at offset 0", "No space left on device"});
}

TEST_CASE("a full disk keeps the old file and removes the temporary") {
  // A limit on file sizes stands in for the disk: the write is cut short in the same way, after some bytes.
  const TemporaryFolder folder;
  put(folder / "a", "old");
  const int status = in_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
    try {
      write_file_atomically(folder / "a", std::string_view(std::string(5000, 'x')));
    } catch (const FileError& error) {
      const std::string text = error.what();
      const bool named = text.find((folder / "a").string()) != std::string::npos;
      return named && text.find("at offset 1000: File too large") != std::string::npos ? 0 : 2;
    }
    return 3;
  });
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(get(folder / "a") == "old");
  CHECK(folder.count() == 1);
}

TEST_CASE("an interrupted write leaves the old file, and the next one succeeds") {
  const TemporaryFolder folder;
  put(folder / "a", "old");
  const int status = in_child([&] {
    write_file_atomically(folder / "a", [](FileWriter& writer) {
      writer.write(std::string_view("half of the new"));
      std::raise(SIGKILL);
    });
    return 0;
  });
  CHECK(WIFSIGNALED(status));
  CHECK(get(folder / "a") == "old");
  write_file_atomically(folder / "a", std::string_view("new"));
  CHECK(get(folder / "a") == "new");
}

TEST_CASE("a folder is created with its parents, unless a file is in the way") {
  const TemporaryFolder folder;
  create_folder(folder / "a" / "b");
  create_folder(folder / "a" / "b");
  CHECK(is_folder(folder / "a" / "b"));
  put(folder / "file", "");
  check_throws<FileError>([&] { create_folder(folder / "file"); }, {"file", "cannot create the folder"});
  check_throws<FileError>([&] { create_folder(folder / "file" / "b"); }, {"file", "cannot create the folder"});
  CHECK(path_exists(folder / "file"));
  CHECK_FALSE(path_exists(folder / "none"));
}

TEST_CASE("threads that write one file in different ways never meet in a temporary") {
  const TemporaryFolder folder;
  // Each kind of writer is a type of its own; their temporaries lie there at the same time.
  std::size_t seen = 0;
  write_file_atomically(folder / "a", [&](FileWriter& outer) {
    outer.write(std::string_view("outer"));
    write_file_atomically(folder / "a", [&](FileWriter& inner) {
      inner.write(std::string_view("inner"));
      seen = folder.count();
    });
    CHECK(get(folder / "a") == "inner");
  });
  CHECK(get(folder / "a") == "outer");
  CHECK(seen == 2);
  CHECK(folder.count() == 1);
}

TEST_CASE("an output is tried before the work: its folder is made, nothing is left behind") {
  const TemporaryFolder folder;
  put(folder / "old", "kept");
  try_writing(folder / "old");
  CHECK(get(folder / "old") == "kept");
  try_writing(folder / "new" / "below" / "name");
  CHECK(std::filesystem::is_empty(folder / "new" / "below"));
  CHECK_THROWS_WITH_AS(try_writing(folder / "new"), ((folder / "new").string() + ": is a folder, expected the name of a file").c_str(),
                       FileError);
  CHECK_THROWS_AS(try_writing(folder / "old" / "name"), FileError);
}

TEST_CASE("temporaries of killed processes are removed, and nothing that looks alike") {
  const TemporaryFolder folder;
  for (const char* name : {"state.tmp.1.0", "a.state.tmp.4711.12"}) put(folder / name, "half");
  const std::vector<std::string> kept{".tmp", "a.tmp.", "a.tmp.1", "a.tmp.1.", "a.tmp.1.x", "a.tmp.x.1", "a.txt.1.1", "tmp.1.1"};
  for (const std::string& name : kept) put(folder / name, "whole");
  remove_temporaries(folder);
  for (const std::string& name : kept) CHECK(get(folder / name) == "whole");
  CHECK(folder.count() == kept.size());
  remove_temporaries(folder / "not there");
}
