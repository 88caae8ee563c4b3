// Files and a tokenizer for tests of tasks.
#pragma once

#include <lolcats/tokenizer/tokenizer.hpp>

#include <doctest/doctest.h>

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tasks_test {

using lolcats::Index;

/// A folder that disappears with its object.
struct Folder {
  std::filesystem::path path;
  explicit Folder(const std::string& name)
      : path(std::filesystem::temp_directory_path() / ("lolcats-" + name + "-" + std::to_string(::getpid()))) {
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path); }

  std::filesystem::path write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((path / name).parent_path());
    std::ofstream(path / name, std::ios::binary) << text;
    return path / name;
  }
};

/// The longest piece at every place, else a byte.  Bytes are 0 to 255, BOS is 256 ("<s>"), EOS 257, pieces follow.
class PieceTokenizer final : public lolcats::Tokenizer {
 public:
  explicit PieceTokenizer(std::vector<std::string> pieces = {}, bool bos = false)
      : pieces_(std::move(pieces)), adds_(bos) {}

  Index vocab_size() const override { return 258 + static_cast<Index>(pieces_.size()); }
  std::optional<Index> bos() const override { return 256; }
  std::optional<Index> eos() const override { return 257; }
  bool adds_bos() const override { return adds_; }
  std::uint64_t fingerprint() const override { return 0x1234; }

 protected:
  void append(std::string_view text, bool special, std::vector<Index>& tokens) const override {
    while (!text.empty()) {
      Index token = static_cast<unsigned char>(text[0]);
      std::size_t longest = 1;
      for (std::size_t i = 0; i < pieces_.size(); ++i) {
        if (!text.starts_with(pieces_[i]) || pieces_[i].size() < longest) continue;
        token = 258 + static_cast<Index>(i);
        longest = pieces_[i].size();
      }
      if (special && text.starts_with("<s>")) {
        token = 256;
        longest = 3;
      }
      tokens.push_back(token);
      text.remove_prefix(longest);
    }
  }
  std::string piece(Index, Index token, bool) const override {
    if (token < 256) return std::string(1, static_cast<char>(token));
    return token < 258 ? "" : pieces_[static_cast<std::size_t>(token - 258)];
  }

 private:
  std::vector<std::string> pieces_;
  bool adds_;
};

/// The message of the error of type E that f() throws.
template <class E, class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const E& error) {
    return error.what();
  }
  return "no error";
}

/// The folder of real data that the environment names, or nothing, which is said.
inline std::optional<std::filesystem::path> real_data() {
  if (const char* folder = std::getenv("LOLCATS_DATA")) return folder;
  MESSAGE("skipped: LOLCATS_DATA names no folder of data");
  return std::nullopt;
}

inline bool contains(const std::string& text, std::string_view part) {
  const bool found = text.find(part) != text.npos;
  if (!found) MESSAGE("'" << text << "' does not contain '" << part << "'");
  return found;
}

}  // namespace tasks_test
