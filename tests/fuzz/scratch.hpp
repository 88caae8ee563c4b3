// What fuzz targets of readers that take paths, and of those that read safetensors, have in common.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include <unistd.h>

namespace fuzz {

/// A folder of this process; TMPDIR=/dev/shm makes it quick.
inline const std::filesystem::path& scratch_folder() {
  static const std::filesystem::path folder = [] {
    const auto path = std::filesystem::temp_directory_path() / ("lolcats-fuzz-" + std::to_string(::getpid()));
    std::filesystem::create_directories(path);
    return path;
  }();
  return folder;
}

inline void write(const std::filesystem::path& path, std::string_view bytes) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (!file || std::fwrite(bytes.data(), 1, bytes.size(), file) != bytes.size() || std::fclose(file) != 0) std::abort();
}

/// What lies in front of the first zero byte, and takes both away from `bytes`.
inline std::string_view take_text(std::string_view& bytes) {
  const std::size_t end = bytes.find('\0');
  const std::string_view text = bytes.substr(0, end);
  bytes = end == std::string_view::npos ? std::string_view() : bytes.substr(end + 1);
  return text;
}

/// A safetensors file of a header, a zero byte and data: a length in front would have to change with every mutation.
inline std::string safetensors_of(std::string_view bytes) {
  const std::string_view header = take_text(bytes);
  std::string file;
  for (int byte = 0; byte < 8; ++byte) file += static_cast<char>(std::uint64_t{header.size()} >> (8 * byte) & 255);
  return file.append(header).append(bytes);
}

}  // namespace fuzz
