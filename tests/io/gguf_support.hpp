// Small GGUF files for tests, written the plain way and by no code of the library's.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace io_test {

// clang-format off
/// Numbers of GGUF's value types.
enum : std::uint32_t { gguf_u8, gguf_i8, gguf_u16, gguf_i16, gguf_u32, gguf_i32, gguf_f32, gguf_bool, gguf_string,
                       gguf_array, gguf_u64, gguf_i64, gguf_f64 };
/// Numbers of ggml's tensor types.
enum : std::uint32_t { ggml_f32 = 0, ggml_f16 = 1, ggml_q4_0 = 2, ggml_q4_1 = 3, ggml_q5_0 = 6, ggml_q5_1 = 7, ggml_q8_0 = 8,
                       ggml_q4_k = 12, ggml_q5_k = 13, ggml_q6_k = 14, ggml_i32 = 26, ggml_f64 = 28, ggml_bf16 = 30 };
// clang-format on

/// The bytes of a number, as files hold them.
template <class T>
std::string bytes_of(T value) {
  static_assert(std::is_arithmetic_v<T>);
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}
/// A length of 64 bits, then the characters.
inline std::string gguf_bytes(const std::string& text) { return bytes_of(std::uint64_t{text.size()}) + text; }

/// A file that is put together piece by piece:
///   GgufFile().set("general.architecture", "llama").set("llama.block_count", 2u).tensor("a", {2, 3}, ggml_f32, bytes).bytes()
class GgufFile {
 public:
  explicit GgufFile(std::uint32_t version = 3) : version_(version) {}

  /// A key of any bytes behind it: its type, then its value.
  GgufFile& raw(const std::string& key, const std::string& type_and_value) {
    keys_ += gguf_bytes(key) + type_and_value;
    ++key_count_;
    return *this;
  }
  /// The type of GGUF follows from that of C++.
  template <class T>
  requires std::is_arithmetic_v<T> GgufFile& set(const std::string& key, T value) {
    return raw(key, bytes_of(type_of<T>()) + bytes_of(value));
  }
  GgufFile& set(const std::string& key, const std::string& text) {
    return raw(key, bytes_of(std::uint32_t{gguf_string}) + gguf_bytes(text));
  }
  GgufFile& set(const std::string& key, const char* text) { return set(key, std::string(text)); }
  template <class T>
  requires std::is_arithmetic_v<T> GgufFile& set(const std::string& key, const std::vector<T>& values) {
    std::string bytes =
        bytes_of(std::uint32_t{gguf_array}) + bytes_of(type_of<T>()) + bytes_of(std::uint64_t{values.size()});
    for (const T value : values) bytes += bytes_of(value);
    return raw(key, bytes);
  }
  GgufFile& set(const std::string& key, const std::vector<std::string>& texts) {
    std::string bytes = bytes_of(std::uint32_t{gguf_array}) + bytes_of(std::uint32_t{gguf_string}) +
                        bytes_of(std::uint64_t{texts.size()});
    for (const std::string& text : texts) bytes += gguf_bytes(text);
    return raw(key, bytes);
  }

  /// A tensor behind the others; `shape` is row-major.
  GgufFile& tensor(const std::string& name, const std::vector<std::uint64_t>& shape, std::uint32_t type,
                   const std::string& bytes) {
    data_.resize((data_.size() + alignment_ - 1) / alignment_ * alignment_);
    tensor_at(name, shape, type, data_.size());
    data_ += bytes;
    return *this;
  }
  GgufFile& tensor(const std::string& name, const std::vector<std::uint64_t>& shape, const std::vector<float>& values) {
    std::string bytes;
    for (const float value : values) bytes += bytes_of(value);
    return tensor(name, shape, ggml_f32, bytes);
  }
  /// A tensor that says it lies at `offset`, whatever is there.
  GgufFile& tensor_at(const std::string& name, const std::vector<std::uint64_t>& shape, std::uint32_t type,
                      std::uint64_t offset) {
    tensors_ += gguf_bytes(name) + bytes_of(static_cast<std::uint32_t>(shape.size()));
    for (auto extent = shape.rbegin(); extent != shape.rend(); ++extent) tensors_ += bytes_of(*extent);
    tensors_ += bytes_of(type) + bytes_of(offset);
    ++tensor_count_;
    return *this;
  }
  /// Writes "general.alignment" and keeps to it; before any tensor.
  GgufFile& align(std::uint32_t alignment) {
    alignment_ = alignment;
    return set("general.alignment", alignment);
  }

  std::string header() const {
    return "GGUF" + bytes_of(version_) + bytes_of(tensor_count_) + bytes_of(key_count_) + keys_ + tensors_;
  }
  std::string bytes() const {
    std::string file = header();
    file.resize((file.size() + alignment_ - 1) / alignment_ * alignment_);
    return file + data_;
  }

 private:
  template <class T>
  static std::uint32_t type_of() {
    if constexpr (std::is_same_v<T, bool>) return gguf_bool;
    if constexpr (std::is_floating_point_v<T>) return sizeof(T) == 4 ? gguf_f32 : gguf_f64;
    const bool is_signed = std::is_signed_v<T>;
    switch (sizeof(T)) {
      case 1: return is_signed ? gguf_i8 : gguf_u8;
      case 2: return is_signed ? gguf_i16 : gguf_u16;
      case 4: return is_signed ? gguf_i32 : gguf_u32;
      default: return is_signed ? gguf_i64 : gguf_u64;
    }
  }

  std::uint32_t version_;
  std::uint64_t tensor_count_ = 0, key_count_ = 0;
  std::size_t alignment_ = 32;
  std::string keys_, tensors_, data_;
};

}  // namespace io_test
