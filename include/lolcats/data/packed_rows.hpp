// Rows of equal length in a compact form that can be mapped from a file: the reader.
//
//   "lolrows1"                     8 bytes
//   rows                           `rows` times: `length` ids of 2 or 4 bytes, padded with zeros to a multiple of 8
//                                  bytes; if masked, a bit per token in 64-bit words: 1 is supervised
//   starts                         u32 each: where documents begin inside of a row (0 is not listed), row by row
//   ends of the starts             u64 per row: how many starts the rows up to this one have
//   PackedInfo                     16 numbers of 64 bits, the last one a checksum of the others
//
// All numbers are little-endian.  What describes the rows stands behind them, so that they can be written as they come.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/fingerprint.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/tensor/labels.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lolcats {

static_assert(std::endian::native == std::endian::little, "files are little-endian and read as they are");

inline constexpr std::string_view packed_rows_magic = "lolrows1";

/// What a file of rows says about itself.
struct PackedInfo {
  std::uint64_t identity = 0;     // of what the rows were made from
  std::uint64_t fingerprint = 0;  // of the rows: Fingerprint after add_to() of each
  std::uint64_t rows = 0;
  std::uint64_t length = 0;       // tokens per row
  std::uint64_t token_bytes = 0;  // 2 or 4
  std::uint64_t masked = 0;       // 1: not all tokens are supervised
  std::uint64_t separate = 0;     // 1: DocumentBoundaries::Separate
  std::uint64_t largest = 0;      // token id
  std::uint64_t supervised = 0;   // labels
  std::uint64_t starts = 0;
  std::uint64_t documents = 0;   // that were read, those skipped not counted
  std::uint64_t skipped = 0;     // documents without a text or an answer
  std::uint64_t text_bytes = 0;  // of the files
  std::uint64_t left_over = 0;   // tokens behind the last row, and those of rows without a label
  std::uint64_t reserved = 0;
  std::uint64_t checksum = 0;

  std::uint64_t sum() const {
    const auto numbers = std::bit_cast<std::array<std::uint64_t, 16>>(*this);
    Fingerprint print;
    for (std::size_t i = 0; i + 1 < numbers.size(); ++i) print.add(numbers[i]);
    return print.value();
  }
  std::size_t token_stride() const { return static_cast<std::size_t>((length * token_bytes + 7) / 8 * 8); }
  std::size_t stride() const {
    return token_stride() + (masked ? static_cast<std::size_t>((length + 63) / 64 * 8) : 0);
  }
};
static_assert(sizeof(PackedInfo) == 128);

/// Rows in that form, wherever they lie.
class PackedRows {
 public:
  /// `owner` keeps `bytes` alive; `name` stands in errors.  Throws FormatError for bytes that are not exactly a file of
  /// rows.  What is not looked at here, the tokens, is checked when it is read.
  PackedRows(std::span<const std::byte> bytes, std::shared_ptr<const void> owner, std::string name)
      : bytes_(bytes), owner_(std::move(owner)), name_(std::move(name)) {
    constexpr std::size_t magic = packed_rows_magic.size();
    require<FormatError>(bytes.size() >= magic && std::memcmp(bytes.data(), packed_rows_magic.data(), magic) == 0,
                         "{}: does not begin with '{}'", name_, packed_rows_magic);
    require<FormatError>(bytes.size() >= magic + sizeof info_, "{}: truncated: {} bytes, expected at least {}", name_,
                         bytes.size(), magic + sizeof info_);
    std::memcpy(&info_, bytes.data() + bytes.size() - sizeof info_, sizeof info_);
    require<FormatError>(info_.checksum == info_.sum(), "{}: the last {} bytes are not the end of a file of rows",
                         name_, sizeof info_);
    constexpr std::uint64_t most = std::uint64_t{1} << 32;
    require<FormatError>(info_.length >= 2 && info_.length < most && info_.rows > 0 && info_.rows < most &&
                             info_.starts < most && (info_.token_bytes == 2 || info_.token_bytes == 4) &&
                             info_.masked <= 1 && info_.separate <= 1 && info_.largest < most,
                         "{}: {} rows of {} tokens of {} bytes cannot be", name_, info_.rows, info_.length,
                         info_.token_bytes);
    std::size_t room = bytes.size() - magic - sizeof info_;
    require<FormatError>(info_.rows <= room / info_.stride(), "{}: {} bytes hold no {} rows of {} bytes", name_,
                         bytes.size(), info_.rows, info_.stride());
    room -= static_cast<std::size_t>(info_.rows) * info_.stride();
    require<FormatError>(room == info_.starts * 4 + info_.rows * 8, "{}: {} bytes for {} starts of {} rows", name_,
                         room, info_.starts, info_.rows);
    starts_ = magic + static_cast<std::size_t>(info_.rows) * info_.stride();
    ends_ = starts_ + static_cast<std::size_t>(info_.starts) * 4;
    check_starts();
  }

  const PackedInfo& info() const { return info_; }
  const std::string& name() const { return name_; }
  Index size() const { return static_cast<Index>(info_.rows); }
  Index length() const { return static_cast<Index>(info_.length); }

  /// Appends the tokens and the labels (not shifted, see Sample) of a row.  Throws FormatError for a token larger than
  /// the largest that the file admits to.
  void append(Index row, std::vector<Index>& tokens, std::vector<Index>& labels) const {
    const std::byte* data = bytes_.data() + packed_rows_magic.size() + static_cast<std::size_t>(row) * info_.stride();
    const std::size_t first = tokens.size(), length = static_cast<std::size_t>(info_.length);
    tokens.resize(first + length);
    if (info_.token_bytes == 2)
      widen<std::uint16_t>(data, tokens.data() + first);
    else
      widen<std::uint32_t>(data, tokens.data() + first);
    const Index largest = *std::max_element(tokens.begin() + static_cast<std::ptrdiff_t>(first), tokens.end());
    require<FormatError>(largest <= static_cast<Index>(info_.largest),
                         "{}: row {} holds the token {}, expected at most {}: the file is damaged", name_, row, largest,
                         info_.largest);
    labels.insert(labels.end(), tokens.begin() + static_cast<std::ptrdiff_t>(first), tokens.end());
    if (!info_.masked) return;
    const std::byte* mask = data + info_.token_stride();
    Index* label = labels.data() + labels.size() - length;
    for (std::size_t i = 0; i < length; ++i)
      if (((static_cast<unsigned>(mask[i / 8]) >> (i % 8)) & 1U) == 0) label[i] = ignored_label;
  }

  /// Where documents begin in a row, from 0.
  std::vector<Index> starts(Index row) const {
    std::vector<Index> list{0};
    const std::uint64_t end = read<std::uint64_t>(ends_, row);
    for (std::uint64_t i = row > 0 ? read<std::uint64_t>(ends_, row - 1) : 0; i < end; ++i)
      list.push_back(read<std::uint32_t>(starts_, static_cast<Index>(i)));
    return list;
  }

 private:
  template <class T>
  T read(std::size_t at, Index index) const {
    T value;
    std::memcpy(&value, bytes_.data() + at + static_cast<std::size_t>(index) * sizeof value, sizeof value);
    return value;
  }

  template <class T>
  void widen(const std::byte* from, Index* to) const {
    for (std::size_t i = 0; i < info_.length; ++i) {
      T token;
      std::memcpy(&token, from + i * sizeof token, sizeof token);
      to[i] = token;
    }
  }

  void check_starts() const {
    std::uint64_t next = 0;
    for (Index row = 0; row < size(); ++row) {
      const std::uint64_t end = read<std::uint64_t>(ends_, row);
      require<FormatError>(end >= next && end <= info_.starts, "{}: row {}: its starts end at {}, expected {} to {}",
                           name_, row, end, next, info_.starts);
      for (std::uint64_t before = 0; next < end; ++next) {
        const std::uint64_t start = read<std::uint32_t>(starts_, static_cast<Index>(next));
        require<FormatError>(start > before && start < info_.length,
                             "{}: row {}: a document begins at {}, expected {} to {}", name_, row, start, before + 1,
                             info_.length - 1);
        before = start;
      }
    }
    require<FormatError>(next == info_.starts, "{}: {} starts, but the rows have {}", name_, info_.starts, next);
  }

  std::span<const std::byte> bytes_;
  std::shared_ptr<const void> owner_;
  std::string name_;
  PackedInfo info_;
  std::size_t starts_ = 0, ends_ = 0;  // offsets
};

}  // namespace lolcats
