// The parts of a tokenizer.json around its model: normalizer, pre-tokenizer, decoder, template.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/io/json.hpp>
#include <lolcats/tokenizer/byte_alphabet.hpp>
#include <lolcats/tokenizer/normalizer.hpp>
#include <lolcats/tokenizer/pre_tokenizer.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lolcats {

namespace detail {

/// Calls f(object, type) for a part, and for those of a Sequence in turn; nothing for null.
template <class F>
void for_each_part(const nlohmann::json& value, const std::string& file, const std::string& path, const char* list,
                   F&& f) {
  if (value.is_null()) return;
  JsonObject object(value, file, path + ".");
  const std::string type = object.text("type");
  if (type != "Sequence") {
    f(object, type, path);
    return object.require_all_read(true);
  }
  const nlohmann::json& parts = object.at(list, "a list");
  if (!parts.is_array()) object.wrong(list, parts, "a list");
  for (std::size_t i = 0; i < parts.size(); ++i)
    for_each_part(parts[i], file, fmt::format("{}.{}[{}]", path, list, i), list, f);
  object.require_all_read(true);
}

[[noreturn]] inline void unsupported_part(const std::string& file, const std::string& path, const std::string& type) {
  fail<ConfigError>("{}: '{}' is of type '{}', which is not supported", file, path, shown(type));
}

/// {"String": "..."} or {"Regex": "..."}.
inline TextPattern read_pattern(JsonObject& owner, const std::string& file) {
  JsonObject object = owner.object("pattern");
  if (object.has("Regex")) {
    TextPattern pattern(Regex(object.text("Regex"), file));
    object.require_all_read();
    return pattern;
  }
  std::string literal = object.text("String");
  require<FormatError>(!literal.empty(), "{}: a pattern is the empty string", file);
  object.require_all_read();
  return TextPattern(std::move(literal));
}

inline PreTokenizer::Behavior read_behavior(JsonObject& object) {
  using Behavior = PreTokenizer::Behavior;
  const std::string name = object.text("behavior");
  if (name == "Removed") return Behavior::removed;
  if (name == "Isolated") return Behavior::isolated;
  if (name == "MergedWithPrevious") return Behavior::merged_with_previous;
  if (name == "MergedWithNext") return Behavior::merged_with_next;
  if (name == "Contiguous") return Behavior::contiguous;
  object.wrong("behavior", name, "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

/// `prepend_scheme`, or its older form `add_prefix_space`.
inline PreTokenizer::Prepend read_prepend(JsonObject& object) {
  using Prepend = PreTokenizer::Prepend;
  const bool old = object.boolean("add_prefix_space", true);
  if (!object.has("prepend_scheme")) return old ? Prepend::always : Prepend::never;
  const std::string name = object.text("prepend_scheme");
  if (name == "always") return Prepend::always;
  if (name == "first") return Prepend::first;
  if (name == "never") return Prepend::never;
  object.wrong("prepend_scheme", name, "always, first or never");
}

}  // namespace detail

/// `normalizer`: NFC, Prepend, Replace, and sequences of these.
inline Normalizer read_normalizer(const nlohmann::json& value, const std::string& file) {
  Normalizer normalizer;
  detail::for_each_part(
      value, file, "normalizer", "normalizers",
      [&](JsonObject& object, const std::string& type, const std::string& path) {
        if (type == "NFC") {
          require<ConfigError>(has_nfc, "{}: '{}' (NFC) needs utf8proc, which this build was made without", file, path);
          normalizer.add({.kind = Normalizer::Kind::nfc});
        } else if (type == "Prepend") {
          normalizer.add({.kind = Normalizer::Kind::prepend, .content = object.text("prepend")});
        } else if (type == "Replace") {
          TextPattern pattern = detail::read_pattern(object, file);
          normalizer.add(
              {.kind = Normalizer::Kind::replace, .content = object.text("content"), .pattern = std::move(pattern)});
        } else {
          detail::unsupported_part(file, path, type);
        }
      });
  return normalizer;
}

/// `pre_tokenizer`: ByteLevel, Split, Digits, Metaspace, Whitespace, WhitespaceSplit, and sequences of
/// these.  `byte_level` becomes true if the words are bytes: ByteLevel is the last stage.
inline PreTokenizer read_pre_tokenizer(const nlohmann::json& value, const std::string& file, bool& byte_level) {
  using Kind = PreTokenizer::Kind;
  using Behavior = PreTokenizer::Behavior;
  std::vector<PreTokenizer::Stage> stages;
  const auto regex = [&](std::string_view pattern) { return TextPattern(Regex(pattern, file)); };
  detail::for_each_part(
      value, file, "pre_tokenizer", "pretokenizers",
      [&](JsonObject& object, const std::string& type, const std::string& path) {
        if (type == "ByteLevel") {
          if (object.boolean("add_prefix_space", true)) stages.push_back({.kind = Kind::prefix_space});
          if (object.boolean("use_regex", true)) stages.push_back({.pattern = regex(gpt2_pattern)});
          stages.push_back({.kind = Kind::spell_bytes});
          object.ignore({"trim_offsets"});
        } else if (type == "Split") {
          TextPattern pattern = detail::read_pattern(object, file);
          const Behavior behavior = detail::read_behavior(object);
          stages.push_back(
              {.pattern = std::move(pattern), .behavior = behavior, .invert = object.boolean("invert", false)});
        } else if (type == "Digits") {
          const bool each = object.boolean("individual_digits", false);
          stages.push_back(
              {.pattern = regex(R"(\p{N})"), .behavior = each ? Behavior::isolated : Behavior::contiguous});
        } else if (type == "Whitespace") {
          stages.push_back({.pattern = regex(fmt::format(R"([{0}]+|[^{0}\s]+)", rust_word_items)),
                            .behavior = Behavior::removed,
                            .invert = true});
        } else if (type == "WhitespaceSplit") {
          stages.push_back({.pattern = regex(R"(\s)"), .behavior = Behavior::removed});
        } else if (type == "Metaspace") {
          const std::string mark = object.text("replacement");
          const bool one = !mark.empty() && utf8::at(mark, 0).length == mark.size();
          if (!one) object.wrong("replacement", mark, "one character");
          PreTokenizer::Stage stage{.kind = Kind::metaspace,
                                    .behavior = Behavior::merged_with_next,
                                    .prepend = detail::read_prepend(object),
                                    .mark = mark};
          if (object.boolean("split", true)) stage.pattern = TextPattern(mark);
          object.ignore({"str_rep"});
          stages.push_back(std::move(stage));
        } else {
          detail::unsupported_part(file, path, type);
        }
      });
  byte_level = !stages.empty() && stages.back().kind == Kind::spell_bytes;
  if (byte_level) stages.pop_back();
  PreTokenizer result;
  for (auto& stage : stages) result.add(std::move(stage));
  return result;
}

/// How pieces become text.
struct Decoder {
  bool byte_level = false;     // pieces spell bytes in GPT-2's alphabet
  bool byte_fallback = false;  // "<0xNN>" is a byte
  bool drops_first_space = false;
  std::vector<std::pair<std::string, std::string>> replacements = {};

  std::string operator()(std::string_view piece) const {
    if (byte_level) return byte_alphabet::bytes_of(piece).value_or(std::string(piece));
    std::string text(piece);
    for (const auto& [from, to] : replacements) {
      for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
        text.replace(at, from.size(), to);
    }
    if (!byte_fallback || text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return text;
    const auto digit = [&](char c) {
      return c >= '0' && c <= '9'   ? c - '0'
             : c >= 'A' && c <= 'F' ? c - 'A' + 10
             : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                    : -1;
    };
    const int high = digit(text[3]), low = digit(text[4]);
    return high < 0 || low < 0 ? text : std::string(1, static_cast<char>(static_cast<unsigned char>(16 * high + low)));
  }
};

/// `decoder`: ByteLevel; Metaspace; or a sequence of Replace, ByteFallback, Fuse, Strip of one leading space.
/// It works piece by piece.  Bytes of "<0xNN>" come out as they are, where the `tokenizers` library replaces those that
/// are no UTF-8 by U+FFFD.
inline Decoder read_decoder(const nlohmann::json& value, const std::string& file) {
  Decoder decoder;
  require<ConfigError>(!value.is_null(),
                       "{}: 'decoder' is null, which is not supported; expected ByteLevel, Metaspace or a Sequence",
                       file);
  bool fused = false;
  detail::for_each_part(
      value, file, "decoder", "decoders", [&](JsonObject& object, const std::string& type, const std::string& path) {
        const auto in_order = [&](bool good) {
          require<ConfigError>(good, "{}: '{}' ({}) stands where it is not supported", file, path, type);
        };
        if (type == "ByteLevel") {
          in_order(decoder.replacements.empty() && !decoder.byte_fallback && !fused);
          decoder.byte_level = true;
          object.ignore({"add_prefix_space", "trim_offsets", "use_regex"});
        } else if (type == "Metaspace") {
          in_order(!decoder.byte_level && !fused);
          decoder.replacements.emplace_back(object.text("replacement"), " ");
          require<FormatError>(!decoder.replacements.back().first.empty(), "{}: a pattern is the empty string", file);
          decoder.drops_first_space = detail::read_prepend(object) != PreTokenizer::Prepend::never;
          object.ignore({"str_rep", "split"});
        } else if (type == "Replace") {
          in_order(!decoder.byte_level && !decoder.byte_fallback && !fused);
          JsonObject pattern = object.object("pattern");
          require<ConfigError>(pattern.has("String"), "{}: '{}.pattern' is no String, which is not supported", file,
                               path);
          const std::string from = pattern.text("String");
          require<FormatError>(!from.empty(), "{}: a pattern is the empty string", file);
          decoder.replacements.emplace_back(from, object.text("content"));
        } else if (type == "ByteFallback") {
          in_order(!decoder.byte_level && !fused);
          decoder.byte_fallback = true;
        } else if (type == "Fuse") {
          in_order(!decoder.byte_level);
          fused = true;
        } else if (type == "Strip") {
          in_order(fused && !decoder.drops_first_space && object.text("content") == " " &&
                   object.integer("start") == 1 && object.integer("stop") == 0);
          decoder.drops_first_space = true;
        } else {
          detail::unsupported_part(file, path, type);
        }
      });
  return decoder;
}

/// `post_processor`: the id that it puts in front of a text, if any.  ByteLevel moves offsets only.
/// Throws ConfigError for anything else in front of or behind the text.
inline std::optional<Index> read_template(const nlohmann::json& value, const std::string& file) {
  std::optional<Index> bos;
  detail::for_each_part(
      value, file, "post_processor", "processors",
      [&](JsonObject& object, const std::string& type, const std::string& path) {
        if (type == "ByteLevel") return object.ignore({"add_prefix_space", "trim_offsets", "use_regex"});
        if (type != "TemplateProcessing") detail::unsupported_part(file, path, type);
        object.ignore({"pair"});
        JsonObject names = object.object("special_tokens");
        const nlohmann::json& items = object.at("single", "a list");
        if (!items.is_array()) object.wrong("single", items, "a list");
        bool behind = false;
        for (const nlohmann::json& item : items) {
          JsonObject entry(item, file, path + ".single.");
          if (entry.has("Sequence")) {
            require<ConfigError>(!behind, "{}: '{}.single' holds the text twice, which is not supported", file, path);
            behind = true;
            continue;
          }
          const std::string name = entry.object("SpecialToken").text("id");
          JsonObject token(names.at(name, "an object"), file, path + ".special_tokens.");
          const nlohmann::json& ids = token.at("ids", "a list of one id");
          if (!ids.is_array() || ids.size() != 1 || !ids[0].is_number_unsigned())
            token.wrong("ids", ids, "a list of one id");
          require<ConfigError>(!behind, "{}: '{}.single' puts '{}' behind the text, which is not supported", file, path,
                               shown(name));
          require<ConfigError>(!bos, "{}: '{}.single' puts two tokens in front of the text, which is not supported",
                               file, path);
          bos = ids[0].get<Index>();
        }
      });
  return bos;
}

}  // namespace lolcats
