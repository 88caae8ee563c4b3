// Text to token ids and back, line by line.
//
// Reads lines {"text": ...} from the standard input and writes lines {"ids": [...]}; with --decode the other way.  Bytes
// that are no UTF-8 cannot stand in JSON: decoding writes U+FFFD for each.
//
//   echo '{"text": "Hello world"}' | tokenize --tokenizer tokenizer.json
#include <lolcats/tokenizer/open.hpp>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <exception>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

namespace {

using lolcats::DataError, lolcats::Index;

struct Options {
  std::string tokenizer;
  bool special = false, bos = false, decode = false;
};

std::string convert(const std::string& line, const lolcats::Tokenizer& tokenizer, const Options& o) {
  const auto object = lolcats::parse_json(line, "the line");
  const char* const key = o.decode ? "ids" : "text";
  lolcats::require<DataError>(object.is_object() && object.contains(key), "expected an object with '{}'", key);
  if (o.decode) {
    const auto ids = object.at("ids").get<std::vector<Index>>();
    return nlohmann::json{{"text", lolcats::utf8::replace_invalid(tokenizer.decode(ids, o.special))}}.dump();
  }
  return nlohmann::json{{"ids", tokenizer.encode(object.at("text").get<std::string>(), o.bos, o.special)}}.dump();
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  CLI::App app{"Reads lines {\"text\": ...} and writes lines {\"ids\": [...]}."};
  app.add_option("--tokenizer", o.tokenizer,
                 "a model's folder, tokenizer.json, tokenizer.model, .gguf, or llama2.c's tokenizer.bin")
      ->required();
  app.add_flag("--special", o.special, "special tokens spelled in a text become their ids; decoding shows them");
  app.add_flag("--bos", o.bos, "begin with the begin-of-sequence token");
  app.add_flag("--decode", o.decode, "read lines {\"ids\": [...]} and write lines {\"text\": ...}");
  CLI11_PARSE(app, argc, argv);

  std::size_t number = 0;
  try {
    std::ios::sync_with_stdio(false);
    const std::unique_ptr<lolcats::Tokenizer> tokenizer = lolcats::open_tokenizer(o.tokenizer);
    for (std::string line; std::getline(std::cin, line);) {
      ++number;
      std::cout << convert(line, *tokenizer, o) << '\n';
    }
    std::cout.flush();
    lolcats::require<lolcats::FileError>(std::cout.good(), "the output cannot be written");
    return 0;
  } catch (const std::exception& error) {
    std::cout.flush();
    if (number > 0)
      std::cerr << "tokenize: line " << number << ": " << error.what() << '\n';
    else
      std::cerr << "tokenize: " << error.what() << '\n';
    return 1;
  }
}
