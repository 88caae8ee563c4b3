// Instruction data: records of Alpaca's json as prompts with answers.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/data/batch.hpp>
#include <lolcats/data/text_file.hpp>
#include <lolcats/io/file.hpp>

#include <nlohmann/json.hpp>

#include <cctype>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lolcats {

/// One record.  `context` is Alpaca's "input"; it may be empty.
struct Instruction {
  std::string instruction;
  std::string context;
  std::string answer;
};

/// The Stanford Alpaca prompt: a preamble, an instruction section, a context section if there is one, and an open
/// response section, joined by blank lines, ending in a newline.
inline std::string alpaca_prompt(std::string_view instruction, std::string_view context = {}) {
  std::string prompt = "Below is an instruction that describes a task";
  prompt += context.empty() ? ". " : ", paired with an input that provides further context. ";
  prompt += "Write a response that appropriately completes the request.\n\n### Instruction:\n";
  prompt += instruction;
  if (!context.empty()) (prompt += "\n\n### Input:\n") += context;
  return prompt += "\n\n### Response:\n";
}

/// Prompt, answer, EOS; the labels are the same with the prompt ignored.
///
/// `prompt` is encoded with its special tokens (BOS in front), `answer` without any.
inline Sample alpaca_sample(const std::vector<Index>& prompt, const std::vector<Index>& answer, Index eos) {
  Sample sample{prompt, std::vector<Index>(prompt.size(), ignored_label)};
  for (auto* list : {&sample.tokens, &sample.labels}) {
    list->insert(list->end(), answer.begin(), answer.end());
    list->push_back(eos);
  }
  return sample;
}

namespace detail {

/// Lower-case letters only: "<No input>." becomes "noinput".
inline std::string letters_of(std::string_view text) {
  std::string letters;
  for (const char c : text)
    if (const auto byte = static_cast<unsigned char>(c); std::isalpha(byte))
      letters += static_cast<char>(std::tolower(byte));
  return letters;
}

/// Whether a context says in words that there is none.
inline bool means_no_input(std::string_view context) {
  const std::string letters = letters_of(context);
  return strip(context).empty() || letters == "noinput" || letters == "noinputneeded" || letters == "noinputrequired";
}

/// Whether an answer is missing.  "No Output" in two words answers what a program prints and stays.
inline bool means_no_output(std::string_view answer) {
  return strip(answer).empty() || (letters_of(answer) == "nooutput" && strip(answer).find(' ') == answer.npos);
}

}  // namespace detail

/// A record of Alpaca's json, or none if it has no answer.
///
/// Uncleaned files have holes: a context such as "Noinput" or "<no input>" is taken as none; an answer that is empty or
/// "<nooutput>" is none.  `where` names the record in errors.  Throws FormatError for what is not an object of strings.
inline std::optional<Instruction> parse_instruction(const nlohmann::json& item, const std::string& where) {
  require<FormatError>(item.is_object(), "{} is {}, expected an object", where, item.type_name());
  const auto field = [&](const char* name, bool needed) {
    const auto found = item.find(name);
    if (found == item.end() && !needed) return std::string();
    require<FormatError>(found != item.end() && found->is_string(), "{}: field '{}' is {}, expected a string", where,
                         name, found == item.end() ? "missing" : found->type_name());
    return found->template get<std::string>();
  };
  Instruction record{field("instruction", true), field("input", false), field("output", true)};
  if (detail::means_no_input(record.context)) record.context.clear();
  if (detail::means_no_output(record.answer)) return {};
  return record;
}

/// The records of an Alpaca json text that have an answer, in order.  `origin` names the source in errors.  Throws
/// FormatError for text that is not an array of objects of strings, DataError if no record is left.
inline std::vector<Instruction> parse_alpaca(std::string_view json, const std::string& origin = "parse_alpaca") {
  if (json.starts_with(byte_order_mark)) json.remove_prefix(byte_order_mark.size());
  const auto root = nlohmann::json::parse(json.begin(), json.end(), nullptr, false);
  require<FormatError>(!root.is_discarded(), "{}: not valid json", origin);
  require<FormatError>(root.is_array(), "{}: expected an array of records, got {}", origin, root.type_name());
  std::vector<Instruction> records;
  std::size_t i = 0;
  for (const auto& item : root) {
    if (auto record = parse_instruction(item, fmt::format("{}: record {}", origin, i))) records.push_back(*record);
    ++i;
  }
  require<DataError>(!records.empty(), "{}: none of {} records has an answer", origin, i);
  return records;
}

/// The records of an Alpaca json file; throws FileError, FormatError or DataError.
inline std::vector<Instruction> read_alpaca(const std::filesystem::path& path) {
  const MappedFile file(path);
  require_text(file.text(), file.name());
  return parse_alpaca(file.text(), file.name());
}

}  // namespace lolcats
