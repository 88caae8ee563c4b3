// Hugging Face's tokenizer.json: byte pair models and what stands around them.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/io/json.hpp>
#include <lolcats/tokenizer/byte_pair.hpp>
#include <lolcats/tokenizer/json_pipeline.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lolcats {

/// What files beside a tokenizer.json say about it.
struct TokenizerNotes {
  std::string file = {};   // the one that says it, for messages
  bool names_bos = false;  // `bos` is the last word on BOS, even if it is nothing
  std::optional<std::string> bos = {}, eos = {};
  std::optional<Index> bos_id = {}, eos_id = {};  // used where there is no name
  std::optional<bool> adds_bos = {};
};

namespace detail {

/// The model's vocabulary, merges and switches; `spelled` finds ids by spelling.
inline void read_byte_pair_model(JsonObject model, BytePairParts& parts,
                                 std::unordered_map<std::string_view, Index>& spelled) {
  const std::string& file = model.file();
  if (model.has("type")) {
    const std::string type = model.text("type");
    require<ConfigError>(type == "BPE", "{}: 'model.type' is '{}', which is not supported; expected 'BPE'", file,
                         shown(type));
  }
  const auto unsupported = [&](const char* key) {
    if (!model.has(key)) return;
    const nlohmann::json& value = model.at(key, "nothing");
    const bool off = (value.is_string() && value.get_ref<const std::string&>().empty()) ||
                     (value.is_number() && value.get<double>() == 0);
    require<ConfigError>(off, "{}: 'model.{}' is {}, which is not supported", file, key, shown(value));
  };
  for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) unsupported(key);
  parts.fuse_unknown = model.boolean("fuse_unk", false);
  parts.byte_fallback = model.boolean("byte_fallback", false);
  parts.ignore_merges = model.boolean("ignore_merges", false);

  const nlohmann::json& vocabulary = model.at("vocab", "an object of pieces and ids");
  if (!vocabulary.is_object()) model.wrong("vocab", vocabulary, "an object of pieces and ids");
  const std::size_t most = vocabulary.size() + (1 << 20);  // there may be holes
  for (const auto& [piece, id] : vocabulary.items()) {
    const bool good = id.is_number_unsigned() && id.get<std::uint64_t>() < most;
    require<FormatError>(good, "{}: 'model.vocab' gives the piece '{}' the id {}, expected 0 to {}", file, shown(piece),
                         shown(id), most - 1);
    const auto index = id.get<std::size_t>();
    if (index >= parts.pieces.size()) parts.pieces.resize(index + 1);
    require<FormatError>(parts.pieces[index].empty(), "{}: 'model.vocab' gives the id {} to '{}' and to '{}'", file,
                         index, shown(parts.pieces[index]), shown(piece));
    parts.pieces[index] = piece;
    spelled.emplace(vocabulary.find(piece).key(), static_cast<Index>(index));
  }
  if (model.has("unk_token")) {
    const std::string unknown = model.text("unk_token");
    const auto found = spelled.find(unknown);
    require<FormatError>(found != spelled.end(), "{}: 'model.unk_token' is '{}', which 'model.vocab' has not", file,
                         shown(unknown));
    parts.unknown = found->second;
  }

  const nlohmann::json& merges = model.at("merges", "a list of pairs");
  if (!merges.is_array()) model.wrong("merges", merges, "a list of pairs");
  parts.merges = MergeTable(merges.size());
  std::uint32_t rank = 0;
  for (const nlohmann::json& merge : merges) {
    std::string left, right;
    if (merge.is_string()) {
      const std::string& both = merge.get_ref<const std::string&>();
      const std::size_t space = both.find(' ');
      if (space != std::string::npos && both.find(' ', space + 1) == std::string::npos) {
        left = both.substr(0, space);
        right = both.substr(space + 1);
      }
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0].get<std::string>();
      right = merge[1].get<std::string>();
    }
    const auto a = spelled.find(left), b = spelled.find(right), c = spelled.find(left + right);
    const bool good = !left.empty() && !right.empty() && a != spelled.end() && b != spelled.end() && c != spelled.end();
    require<FormatError>(good,
                         "{}: 'model.merges' {} is {}, expected two pieces that 'model.vocab' has, and their joint",
                         file, rank, shown(merge));
    parts.merges.add(static_cast<std::int32_t>(a->second), static_cast<std::int32_t>(b->second), rank++,
                     static_cast<std::int32_t>(c->second));
  }
  model.ignore({"type"});
  model.require_all_read(true);
}

inline std::vector<AddedToken> read_added_tokens(const nlohmann::json& list, const std::string& file) {
  std::vector<AddedToken> tokens;
  require<FormatError>(list.is_array(), "{}: 'added_tokens' is {}, expected a list", file, shown(list));
  for (const nlohmann::json& entry : list) {
    JsonObject object(entry, file, fmt::format("added_tokens[{}].", tokens.size()));
    AddedToken token;
    token.id = object.integer("id");
    token.content = object.text("content");
    token.special = object.boolean("special", false);
    token.normalized = object.boolean("normalized", !token.special);
    token.left_strip = object.boolean("lstrip", false);
    token.right_strip = object.boolean("rstrip", false);
    token.single_word = object.boolean("single_word", false);
    object.require_all_read(true);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace detail

/// The tokenizer that a tokenizer.json describes, exact to the byte with the `tokenizers` library; `file` names it in
/// messages.  BOS and EOS are what `notes` say, otherwise what the template adds, otherwise well-known names.
/// Throws FormatError for contradictions, ConfigError naming what is not supported.
inline std::unique_ptr<BytePairTokenizer> parse_tokenizer_json(std::string_view text, const std::string& file,
                                                               const TokenizerNotes& notes = {}) {
  const nlohmann::json document = parse_json(text, file);
  JsonObject top(document, file);
  BytePairParts parts;
  parts.origin = file;
  std::unordered_map<std::string_view, Index> spelled;
  detail::read_byte_pair_model(top.object("model"), parts, spelled);
  if (top.has("added_tokens")) parts.added = detail::read_added_tokens(top.at("added_tokens", "a list"), file);
  for (const AddedToken& token : parts.added) {
    const auto found = spelled.find(token.content);
    require<FormatError>(found == spelled.end() || found->second == token.id,
                         "{}: '{}' has id {} in 'added_tokens' and {} in 'model.vocab'", file, shown(token.content),
                         token.id, found == spelled.end() ? 0 : found->second);
    spelled.emplace(token.content, token.id);
  }
  const auto part = [&](const char* key) -> const nlohmann::json& {
    static const nlohmann::json absent;
    if (!top.has(key)) return absent;
    parts.pipeline += fmt::format("{}: {}\n", key, top.at(key, "an object").dump());
    return top.at(key, "an object");
  };
  parts.normalizer = read_normalizer(part("normalizer"), file);
  parts.pre_tokenizer = read_pre_tokenizer(part("pre_tokenizer"), file, parts.byte_level);
  const Decoder decoder = read_decoder(part("decoder"), file);
  for (const std::string& piece : parts.pieces) parts.texts.push_back(decoder(piece));
  parts.drops_first_space = decoder.drops_first_space;
  const std::optional<Index> added_bos = read_template(part("post_processor"), file);
  parts.pipeline += fmt::format("{} {} {} {}", parts.fuse_unknown, parts.byte_fallback, parts.ignore_merges,
                                parts.unknown.value_or(-1));
  top.ignore({"version", "truncation", "padding"});  // lengths are the caller's matter
  top.require_all_read(true);

  const auto id_of = [&](const std::string& name, const char* what) {
    const auto found = spelled.find(name);
    require<ConfigError>(found != spelled.end(), "{}: the {} token is '{}', which {} does not have", notes.file, what,
                         shown(name), file);
    return found->second;
  };
  const auto well_known = [&](std::initializer_list<const char*> names) -> std::optional<Index> {
    for (const char* name : names) {
      if (const auto found = spelled.find(name); found != spelled.end()) return found->second;
    }
    return std::nullopt;
  };
  parts.bos = added_bos         ? added_bos
              : notes.bos       ? std::optional(id_of(*notes.bos, "BOS"))
              : notes.names_bos ? std::nullopt
              : notes.bos_id    ? notes.bos_id
                                : well_known({"<s>", "<|begin_of_text|>", "<|startoftext|>", "<bos>"});
  parts.eos = notes.eos      ? std::optional(id_of(*notes.eos, "EOS"))
              : notes.eos_id ? notes.eos_id
                             : well_known({"</s>", "<|end_of_text|>", "<|endoftext|>", "<eos>", "<|im_end|>"});
  parts.adds_bos = notes.adds_bos.value_or(added_bos.has_value()) && parts.bos.has_value();
  return std::make_unique<BytePairTokenizer>(std::move(parts));
}

}  // namespace lolcats
