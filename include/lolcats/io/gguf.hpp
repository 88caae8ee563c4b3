// Reads GGUF files (llama.cpp): metadata by key, and where each tensor lies.
#pragma once

#include <lolcats/io/file.hpp>
#include <lolcats/io/gguf_type.hpp>
#include <lolcats/io/json.hpp>
#include <lolcats/io/stored_tensor.hpp>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace lolcats {

/// The metadata and tensors of one GGUF file, versions 2 and 3.  The file is mapped, not loaded; a copy shares the
/// mapping.
///
/// The file is untrusted and checked in full when it is opened: counts, lengths, types, keys and names that appear
/// twice, and that each tensor lies aligned inside of the file and overlaps no other.  Nothing is allocated that the
/// file's own size does not justify.  Arrays of arrays are refused.  Tensors of types that are not decoded here may lie
/// in the file; reading one is the error.  Tensors have GGUF's names; shapes are row-major, so its dimensions in reverse.
/// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
/// Errors: FileError, FormatError naming file and key or tensor, got and expected.
class Gguf : public StoredTensors {
 public:
  explicit Gguf(const std::filesystem::path& path) : Gguf(std::make_shared<const MappedFile>(path)) {}

  /// Reads from memory, which `owner` keeps alive (without an owner: the caller).  `name` stands in messages.
  Gguf(std::span<const std::byte> bytes, std::string name, std::shared_ptr<const void> owner = nullptr)
      : StoredTensors(std::move(name), std::move(owner)), file_(bytes) {
    parse();
  }

  /// True if the bytes begin as those of a GGUF file do.
  static bool recognizes(std::span<const std::byte> bytes) {
    return bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0;
  }

  Index version() const { return version_; }

  bool has(std::string_view key) const { return values_.contains(key); }
  /// All keys in ascending order.
  std::vector<std::string> keys() const {
    std::vector<std::string> list;
    for (const auto& [key, value] : values_) list.push_back(key);
    return list;
  }
  bool is_array(std::string_view key) const { return at(key, "a value").array; }
  /// Elements of an array.
  Index count(std::string_view key) const {
    const auto any = [](GgufType) { return true; };
    return static_cast<Index>(array(key, any, "an array").count);
  }
  /// The value as messages show it: "u32 7", "string 'abc'", "an array of 3 f32".
  std::string shown_value(std::string_view key) const { return describe(at(key, "a value")); }

  /// An integer of any width, a number of any width or an integer, true or false, a string, and arrays of these.
  /// Errors: FormatError for a missing key, another type, or an integer beyond 2^63 - 1.
  Index integer(std::string_view key) const {
    const Value& value = scalar(key, is_integer, "an integer");
    return load_integer(key, value.type, value.bytes.data());
  }
  double number(std::string_view key) const {
    const Value& value = scalar(key, is_number, "a number");
    return load_number(value.type, value.bytes.data());
  }
  bool boolean(std::string_view key) const {
    const auto is_bool = [](GgufType type) { return type == GgufType::Bool; };
    return scalar(key, is_bool, "a bool").bytes[0] != std::byte{0};
  }
  std::string text(std::string_view key) const {
    const Value& value = scalar(key, is_string, "a string");
    return {reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size()};
  }
  std::vector<std::string> texts(std::string_view key) const {
    const Value& value = array(key, is_string, "an array of strings");
    std::vector<std::string> list;
    list.reserve(static_cast<std::size_t>(value.count));  // each took at least the 8 bytes of its length
    for (std::size_t offset = 0; offset < value.bytes.size();) {
      const auto length = static_cast<std::size_t>(load<std::uint64_t>(value.bytes.data() + offset));
      list.emplace_back(reinterpret_cast<const char*>(value.bytes.data()) + offset + 8, length);
      offset += 8 + length;
    }
    return list;
  }
  std::vector<Index> integers(std::string_view key) const {
    const Value& value = array(key, is_integer, "an array of integers");
    std::vector<Index> list;
    for (std::size_t offset = 0; offset < value.bytes.size(); offset += size_of(value.type)) {
      list.push_back(load_integer(key, value.type, value.bytes.data() + offset));
    }
    return list;
  }
  std::vector<double> numbers(std::string_view key) const {
    const Value& value = array(key, is_number, "an array of numbers");
    std::vector<double> list;
    for (std::size_t offset = 0; offset < value.bytes.size(); offset += size_of(value.type)) {
      list.push_back(load_number(value.type, value.bytes.data() + offset));
    }
    return list;
  }

  /// The same with a value for keys that are absent.
  Index integer(std::string_view key, Index absent) const { return has(key) ? integer(key) : absent; }
  double number(std::string_view key, double absent) const { return has(key) ? number(key) : absent; }
  bool boolean(std::string_view key, bool absent) const { return has(key) ? boolean(key) : absent; }
  std::string text(std::string_view key, std::string absent) const { return has(key) ? text(key) : absent; }

 private:
  struct Value {
    GgufType type = GgufType::U8;  // of an array: of its elements
    bool array = false;
    std::uint64_t count = 1;
    std::span<const std::byte> bytes;  // of a string: its characters; of an array: its elements
  };

  explicit Gguf(std::shared_ptr<const MappedFile> file) : Gguf(file->bytes(), file->name(), file) {}

  template <class T>
  static T load(const std::byte* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
  }

  static bool is_string(GgufType type) { return type == GgufType::String; }
  static bool is_integer(GgufType type) {
    return type <= GgufType::I32 || type == GgufType::U64 || type == GgufType::I64;
  }
  static bool is_number(GgufType type) { return is_integer(type) || type == GgufType::F32 || type == GgufType::F64; }

  /// f(value) with the number at `from`, in its own type.
  template <class F>
  static auto with_number(GgufType type, const std::byte* from, F&& f) {
    switch (type) {
      case GgufType::U8: return f(load<std::uint8_t>(from));
      case GgufType::I8: return f(load<std::int8_t>(from));
      case GgufType::U16: return f(load<std::uint16_t>(from));
      case GgufType::I16: return f(load<std::int16_t>(from));
      case GgufType::U32: return f(load<std::uint32_t>(from));
      case GgufType::I32: return f(load<std::int32_t>(from));
      case GgufType::I64: return f(load<std::int64_t>(from));
      case GgufType::U64: return f(load<std::uint64_t>(from));
      case GgufType::F32: return f(load<float>(from));
      default: return f(load<double>(from));
    }
  }

  Index load_integer(std::string_view key, GgufType type, const std::byte* from) const {
    return with_number(type, from, [&](auto value) {
      if constexpr (std::is_same_v<decltype(value), std::uint64_t>) {
        require<FormatError>(value <= std::uint64_t{INT64_MAX}, "{}: key '{}' holds {}, expected at most 2^63 - 1", name_,
                             shown(key), value);
      }
      return static_cast<Index>(value);
    });
  }

  static double load_number(GgufType type, const std::byte* from) {
    return with_number(type, from, [](auto value) { return static_cast<double>(value); });
  }

  std::string describe(const Value& value) const {
    if (value.array) return fmt::format("an array of {} {}", value.count, name_of(value.type));
    if (value.type == GgufType::String) {
      const std::string_view text(reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size());
      return fmt::format("string '{}'", shown(text));
    }
    if (value.type == GgufType::Bool) return value.bytes[0] == std::byte{0} ? "bool false" : "bool true";
    if (value.type == GgufType::U64) return fmt::format("u64 {}", load<std::uint64_t>(value.bytes.data()));
    return fmt::format("{} {}", name_of(value.type), load_number(value.type, value.bytes.data()));
  }

  const Value& at(std::string_view key, const char* expected) const {
    const auto found = values_.find(key);
    require<FormatError>(found != values_.end(), "{}: key '{}' is missing, expected {}", name_, shown(key), expected);
    return found->second;
  }
  const Value& checked(std::string_view key, bool array, bool (*fits)(GgufType), const char* expected) const {
    const Value& value = at(key, expected);
    if (value.array != array || !fits(value.type)) {
      fail<FormatError>("{}: key '{}' is {}, expected {}", name_, shown(key), describe(value), expected);
    }
    return value;
  }
  const Value& scalar(std::string_view key, bool (*fits)(GgufType), const char* expected) const {
    return checked(key, false, fits, expected);
  }
  const Value& array(std::string_view key, bool (*fits)(GgufType), const char* expected) const {
    return checked(key, true, fits, expected);
  }

  // ---- Parsing: position_ walks through file_; `what` names what is being read. ----

  std::span<const std::byte> take(std::uint64_t size, std::string_view what) {
    require<FormatError>(size <= file_.size() - position_, "{}: {} takes {} bytes at offset {}, but only {} are left",
                         name_, what, size, position_, file_.size() - position_);
    const auto taken = file_.subspan(position_, static_cast<std::size_t>(size));
    position_ += static_cast<std::size_t>(size);
    return taken;
  }
  template <class T>
  T take_number(std::string_view what) {
    return load<T>(take(sizeof(T), what).data());
  }
  std::span<const std::byte> take_string(std::string_view what) { return take(take_number<std::uint64_t>(what), what); }
  /// A key or a tensor's name, no longer than the format's description says.
  std::string take_name(std::string_view what, std::size_t longest) {
    const auto bytes = take_string(what);
    require<FormatError>(!bytes.empty() && bytes.size() <= longest, "{}: {} has {} bytes, expected 1 to {}", name_,
                         what, bytes.size(), longest);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  void parse() {
    require<FormatError>(recognizes(file_), "{}: does not begin with 'GGUF'", name_);
    position_ = 4;
    const auto version = take_number<std::uint32_t>("the version");
    // A file of the other byte order has its version in the highest byte.
    require<FormatError>(version == 2 || version == 3, "{}: is GGUF of {}version {}, expected version 2 or 3{}", name_,
                         version & 0xffff ? "" : "big-endian ", version & 0xffff ? version : version >> 24,
                         version & 0xffff ? "" : " and little-endian");
    version_ = version;
    const auto tensors = take_number<std::uint64_t>("the number of tensors");
    const auto keys = take_number<std::uint64_t>("the number of keys");
    for (std::uint64_t i = 0; i < keys; ++i) parse_key(i, keys);
    std::vector<std::uint64_t> offsets;
    std::vector<TensorInfo*> order;
    for (std::uint64_t i = 0; i < tensors; ++i) order.push_back(parse_tensor(i, tensors, offsets));
    place(order, offsets);
  }

  void parse_key(std::uint64_t index, std::uint64_t count) {
    const std::string key = take_name(fmt::format("key {} of {}", index + 1, count), 65535);
    const std::string what = fmt::format("key '{}'", shown(key));
    Value value;
    value.type = take_type(what);
    if (value.type == GgufType::Array) {
      value.array = true;
      value.type = take_type(what);
      require<FormatError>(value.type != GgufType::Array,
                           "{}: {} is an array of arrays, expected an array of plain values", name_, what);
      value.count = take_number<std::uint64_t>(what);
    }
    if (value.type == GgufType::String && value.array) {
      const std::size_t begin = position_;
      for (std::uint64_t i = 0; i < value.count; ++i) take_string(what);
      value.bytes = file_.subspan(begin, position_ - begin);
    } else if (value.type == GgufType::String) {
      value.bytes = take_string(what);
    } else {
      std::uint64_t bytes = size_of(value.type);
      require<FormatError>(!__builtin_mul_overflow(bytes, value.count, &bytes),
                           "{}: {} has {} elements, which is too many to count", name_, what, value.count);
      value.bytes = take(bytes, what);
    }
    if (value.type == GgufType::Bool) {
      for (const std::byte byte : value.bytes) {
        require<FormatError>(byte <= std::byte{1}, "{}: {} holds the bool {}, expected 0 or 1", name_, what,
                             std::to_integer<int>(byte));
      }
    }
    require<FormatError>(values_.emplace(key, value).second, "{}: {} appears twice", name_, what);
  }

  GgufType take_type(std::string_view what) {
    const auto type = take_number<std::uint32_t>(what);
    require<FormatError>(type <= static_cast<std::uint32_t>(GgufType::F64),
                         "{}: {} has the value type {}, expected 0 to {}", name_, what, type,
                         static_cast<std::uint32_t>(GgufType::F64));
    return GgufType{type};
  }

  TensorInfo* parse_tensor(std::uint64_t index, std::uint64_t count, std::vector<std::uint64_t>& offsets) {
    TensorInfo info;
    info.name = take_name(fmt::format("the name of tensor {} of {}", index + 1, count), 64);
    const std::string what = fmt::format("tensor '{}'", shown(info.name));
    const auto rank = take_number<std::uint32_t>(what);
    require<FormatError>(rank <= 4, "{}: {} has {} dimensions, expected at most 4", name_, what, rank);
    for (std::uint32_t i = 0; i < rank; ++i) {
      const auto extent = take_number<std::uint64_t>(what);
      require<FormatError>(extent <= std::uint64_t{INT64_MAX}, "{}: {} has the dimension {}, expected at most 2^63 - 1",
                           name_, what, extent);
      info.shape.insert(info.shape.begin(), static_cast<Index>(extent));
    }
    const auto type = take_number<std::uint32_t>(what);
    if (const auto plain = plain_gguf_type(type)) {
      info.dtype = *plain;
    } else {
      info.quantized = GgmlType{type};
    }
    offsets.push_back(take_number<std::uint64_t>(what));
    const auto [entry, fresh] = tensors_.try_emplace(info.name, info);
    require<FormatError>(fresh, "{}: {} appears twice", name_, what);
    return &entry->second;
  }

  /// Finds each tensor's bytes: offsets count from the first aligned byte behind the header.
  void place(const std::vector<TensorInfo*>& order, const std::vector<std::uint64_t>& offsets) {
    const Index alignment = integer("general.alignment", 32);
    require<FormatError>(alignment > 0 && alignment <= (1 << 30) && (alignment & (alignment - 1)) == 0,
                         "{}: key 'general.alignment' is {}, expected a power of two up to 2^30", name_, alignment);
    const auto step = static_cast<std::uint64_t>(alignment);
    const std::uint64_t base = (position_ + step - 1) / step * step;
    std::vector<std::pair<std::uint64_t, const TensorInfo*>> places;
    for (std::size_t i = 0; i < order.size(); ++i) {
      TensorInfo& info = *order[i];
      const std::string where = fmt::format("{}: tensor '{}'", name_, shown(info.name));
      const std::uint64_t offset = offsets[i], bytes = stored_bytes(info, where);
      require<FormatError>(offset % step == 0, "{} has the offset {}, expected a multiple of the alignment {}", where,
                           offset, alignment);
      const std::uint64_t room = base <= file_.size() ? file_.size() - base : 0;
      require<FormatError>(offset <= room && bytes <= room - offset,
                           "{} at [{}, {} + {}] runs past the {} bytes of data", where, offset, offset, bytes, room);
      if (bytes == 0) continue;
      info.bytes = file_.subspan(static_cast<std::size_t>(base + offset), static_cast<std::size_t>(bytes));
      places.emplace_back(offset, &info);
    }
    std::sort(places.begin(), places.end());
    for (std::size_t i = 1; i < places.size(); ++i) {
      const auto [offset, info] = places[i - 1];
      require<FormatError>(info->bytes.size() <= places[i].first - offset,
                           "{}: tensor '{}' at [{}, {}] overlaps tensor '{}' at {}", name_, shown(info->name), offset,
                           offset + info->bytes.size(), shown(places[i].second->name), places[i].first);
    }
  }

  /// 0 for a type of unknown size, which is an error only when the tensor is read.
  static std::uint64_t stored_bytes(const TensorInfo& info, const std::string& where) {
    Index numbers = 1;
    for (const Index extent : info.shape) {
      require<FormatError>(!__builtin_mul_overflow(numbers, extent, &numbers), "{}: shape {} is too large to count",
                           where, to_string(info.shape));
    }
    Index block = 1, bytes = static_cast<Index>(size_of(info.dtype));
    if (info.quantized) {
      const GgmlFormat* format = ggml_format(*info.quantized);
      if (!format) return 0;
      block = format->numbers, bytes = format->bytes;
      const Index cols = info.shape.empty() ? 1 : info.shape.back();
      require<FormatError>(cols % block == 0, "{} of shape {} has rows of {}, expected multiples of {} for {}", where,
                           to_string(info.shape), cols, block, format->name);
    }
    require<FormatError>(!__builtin_mul_overflow(numbers / block, bytes, &bytes), "{}: shape {} is too large to count",
                         where, to_string(info.shape));
    return static_cast<std::uint64_t>(bytes);
  }

  std::span<const std::byte> file_;
  std::size_t position_ = 0;
  Index version_ = 0;
  std::map<std::string, Value, std::less<>> values_;
};

}  // namespace lolcats
