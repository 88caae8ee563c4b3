// Encoding texts: megabytes per second.
//
// Prints a line of JSON per file.  bench/compare_tokenizers.py runs it beside Hugging Face's `tokenizers` on the same texts.
#include "support/measure.hpp"
#include "support/program.hpp"

#include <lolcats/io/file.hpp>
#include <lolcats/tokenizer/open.hpp>
#include <lolcats/tokenizer/parallel.hpp>

#include <CLI/CLI.hpp>

#include <string>
#include <string_view>
#include <vector>

int main(int argc, char** argv) {
  using namespace bench;
  std::string tokenizer_path;
  std::vector<std::string> files;
  Index repeats = 5;
  CLI::App app{"Times the encoding of text files, whose lines are encoded one by one; a line of JSON each.", "bench_tokenizers"};
  app.add_option("--tokenizer", tokenizer_path, "a folder or a file")->required();
  app.add_option("--text", files, "text files, or several")->required();
  app.add_option("--repeats", repeats, "runs to take the median of")->check(CLI::PositiveNumber)->capture_default_str();
  return run_program(app, argc, argv, [&] {
    const auto tokenizer = lolcats::open_tokenizer(tokenizer_path);
    for (const std::string& name : files) {
      const std::string text = lolcats::read_text(name);
      std::vector<std::string_view> lines;
      for (std::size_t at = 0, end = 0; at < text.size(); at = end) {
        end = std::min(text.find('\n', at), text.size() - 1) + 1;
        lines.push_back(std::string_view(text).substr(at, end - at));
      }
      std::size_t tokens = 0;
      const Samples samples = repeat(1, repeats, [&] {
        tokens = 0;
        for (const auto& ids : lolcats::encode_all(*tokenizer, lines, false)) tokens += ids.size();
      });
      Json line{{"bench", "tokenizers"},
                {"implementation", "lolcats"},
                {"tokenizer", tokenizer_path},
                {"text", name},
                {"bytes", text.size()},
                {"tokens", tokens},
                {"threads", lolcats::max_threads()}};
      line.update(samples.json());
      line["megabytes_per_second"] = 1e-6 * static_cast<double>(text.size()) / samples.median();
      print(line);
    }
  });
}
