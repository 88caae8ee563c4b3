// What the io tests share: folders that vanish, and a check of an error's type and text.
#pragma once

#include <lolcats/core/error.hpp>

#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <typeinfo>
#include <vector>

namespace io_test {

/// A fresh folder, removed with everything in it at the end of the scope.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "lolcats-io-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  operator const std::filesystem::path&() const { return path_; }
  std::filesystem::path operator/(const std::filesystem::path& name) const { return path_ / name; }
  std::size_t count() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(path_), {}));
  }

 private:
  std::filesystem::path path_;
};

/// Writes a file the plain way, and no way of the library's.
inline void put(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

inline std::string get(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The bytes of a value, as a file holds them.
template <class T>
std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

/// The bytes of a safetensors file with this header and data.
inline std::string safetensors_bytes(const std::string& header, const std::string& data) {
  return raw(std::vector<std::uint64_t>{header.size()}) + header + data;
}

/// f() throws exactly an E, and its text holds every part.
template <class E, class F>
void check_throws(F&& f, std::initializer_list<std::string_view> parts) {
  try {
    f();
    FAIL_CHECK("nothing was thrown");
  } catch (const lolcats::Error& error) {
    const std::string text = error.what();
    CHECK_MESSAGE(typeid(error) == typeid(E), "another type was thrown: ", text);
    for (const std::string_view part : parts) {
      CHECK_MESSAGE(text.find(part) != std::string::npos, "'", std::string(part), "' is not in: ", text);
    }
    CHECK_MESSAGE(text.size() < 1000, "the message has ", text.size(), " bytes");
  }
}

/// The folder of real data, or nothing and a visible word about it.
inline std::optional<std::filesystem::path> real_data(const char* part) {
  const char* root = std::getenv("LOLCATS_DATA");
  if (!root || !*root) {
    MESSAGE("skipped: LOLCATS_DATA is not set");
    return std::nullopt;
  }
  const std::filesystem::path path = std::filesystem::path(root) / part;
  if (!std::filesystem::exists(path)) {
    MESSAGE("skipped: there is no " << path.string());
    return std::nullopt;
  }
  return path;
}

}  // namespace io_test
