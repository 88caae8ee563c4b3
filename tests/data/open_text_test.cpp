#include <doctest/doctest.h>
#include <lolcats/core/rng.hpp>
#include <lolcats/data/documents.hpp>
#include <lolcats/data/open_text.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "plain_tokenizer.hpp"

using namespace lolcats;  // tests only
using tests::chat_tokenizer, tests::PlainTokenizer;
namespace fs = std::filesystem;

namespace {

/// A fresh folder that goes with the test.
class TextFolder {
 public:
  TextFolder() {
    std::string name = (fs::temp_directory_path() / "lolcats-text-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  TextFolder(const TextFolder&) = delete;
  TextFolder& operator=(const TextFolder&) = delete;
  ~TextFolder() { fs::remove_all(path_); }

  fs::path operator/(const std::string& name) const { return path_ / name; }
  fs::path file(const std::string& name, std::string_view content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
    return path_ / name;
  }

 private:
  fs::path path_;
};

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  if (fs::exists(folder))
    for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  return files;
}

/// Lines of words; long enough for several batches of work.
std::string story(std::uint64_t seed, std::size_t bytes) {
  Rng rng(seed);
  std::string text;
  while (text.size() < bytes) {
    for (std::uint64_t n = 1 + rng.below(12); n > 0; --n)
      text += std::string(1 + rng.below(6), static_cast<char>(97 + rng.below(26))) + " ";
    text += "the end.\n";
    if (rng.below(40) == 0) text += "<|endoftext|>\n";
  }
  return text + "last\n";
}

std::string with_cr(std::string_view text) {
  std::string result;
  for (const char c : text) result += c == '\n' ? std::string("\r\n") : std::string(1, c);
  return result;
}

std::vector<Row> rows_of(const DataSet& data) { return data.rows(); }

std::string error_of(const std::vector<fs::path>& files, const Tokenizer& tokenizer,
                     const TextOptions& options = {.length = 2}) {
  try {
    open_text(files, tokenizer, options);
  } catch (const Error& error) {
    return error.what();
  }
  return "none";
}

}  // namespace

TEST_CASE("rows are those of the documents, encoded and concatenated") {
  const TextFolder folder;
  const PlainTokenizer tokenizer = chat_tokenizer();
  const std::string text = story(1, 20000);
  const auto path = folder.file("a.txt", text);
  std::vector<std::vector<Index>> documents;
  for (const std::string& document : split_documents(text)) {
    documents.push_back(tokenizer.encode(document, false));
    documents.back().push_back(tokenizer.id("<|endoftext|>"));
  }
  REQUIRE(documents.size() > 5);
  CHECK(rows_of(open_text({path}, tokenizer, {.length = 100})) == concatenate(documents, 100));
  for (auto& document : documents) document.pop_back();
  CHECK(rows_of(open_text({path}, tokenizer, {.length = 64, .end_of_text = EndOfText::Never})) ==
        concatenate(documents, 64));
  PlainTokenizer with_bos = tokenizer;
  with_bos.puts_bos = true, with_bos.bos_id = with_bos.id("<s>");
  CHECK(rows_of(open_text({path}, with_bos, {.length = 64})) ==
        concatenate(encode_documents(split_documents(text), with_bos), 64));
}

TEST_CASE("CR LF, byte order marks and the kind of the file change no row") {
  const TextFolder folder;
  const PlainTokenizer tokenizer = chat_tokenizer();
  const std::string text = story(2, 5000);
  nlohmann::json list = nlohmann::json::array();
  std::string lines;
  for (const std::string& document : split_documents(text)) {
    list.push_back({{"text", document}});
    lines += list.back().dump() + "\n";
  }
  const auto rows = rows_of(open_text({folder.file("a.txt", text)}, tokenizer, {.length = 32}));
  for (const auto& path :
       {folder.file("b.txt", with_cr(text)), folder.file("c.txt", std::string(byte_order_mark) + text),
        folder.file("d.jsonl", lines), folder.file("e.jsonl", std::string(byte_order_mark) + with_cr(lines)),
        folder.file("f.json", list.dump(2)),
        folder.file("g.json", std::string(byte_order_mark) + with_cr(list.dump(2)))}) {
    CAPTURE(path);
    CHECK(rows_of(open_text({path}, tokenizer, {.length = 32})) == rows);
  }
  const auto one = folder.file("1.txt", "a b\nc\n"),
             other = folder.file("2.jsonl", "{\"text\": \"a b\"}\n{\"text\": \"c\"}");
  CHECK(rows_of(open_text({one}, tokenizer, {.length = 2, .line_documents = true})) ==
        rows_of(open_text({other}, tokenizer, {.length = 2})));
  CHECK(rows_of(open_text({one, other}, tokenizer, {.length = 6, .line_documents = true})).size() == 2);
}

TEST_CASE("mapped rows are those in memory, bit for bit, on any number of threads") {
  const TextFolder folder;
  PlainTokenizer tokenizer = chat_tokenizer();
  std::string chats;
  for (int i = 0; i < 300; ++i)
    chats += nlohmann::json{{"messages",
                             {{{"role", "user"}, {"content", std::string(static_cast<std::size_t>(i), 'x')}},
                              {{"role", "assistant"}, {"content", "yes"}}}}}
                 .dump() +
             "\n";
  const std::vector<fs::path> files{folder.file("a.txt", story(3, 700000)), folder.file("b.jsonl", chats)};
  for (const bool mask : {false, true}) {
    TextOptions options{.length = 48, .boundaries = DocumentBoundaries::Separate, .mask_prompts = mask};
    const DataSet memory = open_text(files, tokenizer, options);
    options.cache = folder / (mask ? "masked" : "open");
    int calls = 0;
    const DataSet made = open_text(files, tokenizer, options, [&](const TextProgress& p) {
      ++calls;
      CHECK(p.note == "");
    });
    CHECK(calls > 0);
    calls = 0;
    const DataSet mapped = open_text(files, tokenizer, options, [&](const TextProgress&) { ++calls; });
    CHECK(calls == 0);  // nothing is read but the texts' fingerprints
    REQUIRE(files_in(*options.cache).size() == 1);
#ifdef _OPENMP
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    const DataSet serial =
        open_text(files, tokenizer, {.length = 48, .boundaries = DocumentBoundaries::Separate, .mask_prompts = mask});
    omp_set_num_threads(threads);
    CHECK(serial.fingerprint() == memory.fingerprint());
#endif
    CHECK(rows_of(made) == rows_of(memory));
    CHECK(rows_of(mapped) == rows_of(memory));
    CHECK(mapped.fingerprint() == memory.fingerprint());
    CHECK(mapped.batch(0, 9).labels == memory.batch(0, 9).labels);
    CHECK((memory.packed_info()->supervised < static_cast<std::uint64_t>(memory.tokens())) == mask);
  }
}

TEST_CASE("whatever changes rows changes the name of the cache") {
  const TextFolder folder;
  PlainTokenizer tokenizer = chat_tokenizer(), other = tokenizer, bos = tokenizer;
  other.pieces.push_back("xyz");
  bos.puts_bos = true, bos.bos_id = bos.id("<s>");
  const auto a = folder.file("a.txt", "one two three\nfour"), b = folder.file("b.txt", "one two three\nfive");
  const fs::path cache = folder / "cache";
  std::size_t count = 0;
  const auto fresh = [&](const std::vector<fs::path>& files, const Tokenizer& t, TextOptions options) {
    options.cache = cache;
    open_text(files, t, options);
    CHECK(files_in(cache).size() == ++count);
    open_text(files, t, options);
    CHECK(files_in(cache).size() == count);
  };
  fresh({a}, tokenizer, {.length = 4});
  fresh({b}, tokenizer, {.length = 4});
  fresh({a, b}, tokenizer, {.length = 4});
  fresh({b, a}, tokenizer, {.length = 4});
  fresh({a}, other, {.length = 4});
  fresh({a}, bos, {.length = 4});
  fresh({a}, tokenizer, {.length = 5});
  fresh({a}, tokenizer, {.length = 4, .boundaries = DocumentBoundaries::Separate});
  fresh({a}, tokenizer, {.length = 4, .end_of_text = EndOfText::Never});
  fresh({a}, tokenizer, {.length = 4, .chat_template = chat_template("llama3")});
  fresh({a}, tokenizer, {.length = 4, .mask_prompts = true});
  fresh({a}, tokenizer, {.length = 4, .line_documents = true});
  fresh({a}, tokenizer, {.length = 4, .shuffle = 1});
  fresh({a}, tokenizer, {.length = 4, .shuffle = 2});
  const auto copy = folder.file("a copy.txt", "one two three\nfour");
  open_text({copy}, tokenizer, {.length = 4, .cache = cache});
  CHECK(files_in(cache).size() == ++count);  // the stem is in the name
}

TEST_CASE("a damaged cache is told of and made anew") {
  const TextFolder folder;
  const PlainTokenizer tokenizer = chat_tokenizer();
  const auto text = folder.file("a.txt", "one two three four five");
  const TextOptions options{.length = 4, .cache = folder / "cache"};
  const auto want = rows_of(open_text({text}, tokenizer, options));
  const fs::path file = files_in(*options.cache).at(0);
  const auto size = fs::file_size(file);
  std::vector<std::string> notes;
  const auto again = [&] {
    notes.clear();
    CHECK(rows_of(open_text({text}, tokenizer, options, [&](const TextProgress& p) {
            if (!p.note.empty()) notes.emplace_back(p.note);
          })) == want);
    CHECK(fs::file_size(file) == size);
    CHECK(files_in(*options.cache).size() == 1);
  };
  for (std::uintmax_t cut = 0; cut < size; ++cut) {
    fs::resize_file(file, cut);
    again();
    REQUIRE(notes.size() == 1);
    CHECK(notes[0].ends_with("the tokens are made anew"));
  }
  again();
  CHECK(notes.empty());
  // the rows of another text under this name
  const auto other = folder.file("other.txt", "six seven eight");
  open_text({other}, tokenizer, {.length = 4, .cache = folder / "more"});
  fs::copy_file(files_in(folder / "more").at(0), file, fs::copy_options::overwrite_existing);
  again();
  CHECK(notes.at(0).find("was made of other texts") != std::string::npos);
}

TEST_CASE("a cache that cannot be written is done without") {
  const TextFolder folder;
  const PlainTokenizer tokenizer = chat_tokenizer();
  const auto text = folder.file("a.txt", story(4, 30000));
  const auto want = rows_of(open_text({text}, tokenizer, {.length = 16}));
  std::string note;
  const auto open = [&](const fs::path& cache) {
    note.clear();
    return rows_of(open_text({text}, tokenizer, {.length = 16, .cache = cache}, [&](const TextProgress& p) {
      if (!p.note.empty()) note = p.note;
    }));
  };
  CHECK(open(text) == want);  // a file where the folder should be
  CHECK(note.ends_with("the tokens are kept in memory"));
  // no room: files may not grow beyond 4 KB
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{4096, before.rlim_max};
  auto* handler = std::signal(SIGXFSZ, SIG_IGN);
  ::setrlimit(RLIMIT_FSIZE, &small);
  const auto got = open(folder / "full");
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK(got == want);
  CHECK(note.find("cannot write") != std::string::npos);
  CHECK(files_in(folder / "full").empty());
}

TEST_CASE("a run that is killed leaves no cache under the name") {
  const TextFolder folder;
  const PlainTokenizer tokenizer = chat_tokenizer();
  const auto text = folder.file("a.txt", story(5, 9 << 20));
  const fs::path cache = folder / "cache";
  const pid_t child = ::fork();
  if (child == 0) {
#ifdef _OPENMP
    omp_set_num_threads(1);
#endif
    open_text({text}, tokenizer, {.length = 16, .cache = cache}, [](const TextProgress&) { ::raise(SIGKILL); });
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  for (const auto& file : files_in(cache)) CHECK(file.extension() != ".rows");
  const auto want = rows_of(open_text({text}, tokenizer, {.length = 16}));
  CHECK(rows_of(open_text({text}, tokenizer, {.length = 16, .cache = cache})) == want);
}

TEST_CASE("documents are shuffled as a whole, over all files, as the seed says") {
  const TextFolder folder;
  const PlainTokenizer tokenizer = chat_tokenizer();
  const auto a =
      folder.file("a.jsonl", "{\"text\": \"aaa\"}\n{\"text\": \"bbb\"}\n{\"text\": \"ccc\"}\n{\"text\": \"ddd\"}");
  const auto b = folder.file("b.jsonl", "{\"text\": \"eee\"}\n{\"text\": \"fff\"}");
  std::set<std::string> orders;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto rows = rows_of(open_text({a, b}, tokenizer, {.length = 4, .shuffle = seed}));
    CHECK(rows == rows_of(open_text({a, b}, tokenizer, {.length = 4, .shuffle = seed})));
    std::string order, sorted;
    for (const Row& row : rows) {
      CHECK(row.tokens == std::vector<Index>{row.tokens[0], row.tokens[0], row.tokens[0], 256});
      order += static_cast<char>(row.tokens[0]);
    }
    sorted = order;
    std::sort(sorted.begin(), sorted.end());
    CHECK(sorted == "abcdef");
    orders.insert(order);
  }
  CHECK(orders.size() > 10);
}

TEST_CASE("errors name file and line") {
  const TextFolder folder;
  PlainTokenizer tokenizer = chat_tokenizer();
  tokenizer.unknown = '\xff';
  const auto text = folder.file("a.txt", "one\n<|endoftext|>\n\ntwo\nthr\xff");
  CHECK(error_of({text}, tokenizer) == text.string() + ":4: PlainTokenizer: no piece for byte 255");
  const auto lines = folder.file("a.jsonl", "{\"text\": \"a\"}\n\n{\"text\": 1}\n{\"text\": 2}\n");
  CHECK(error_of({lines}, tokenizer) == lines.string() + ":3: field 'text' is number, expected a string");
  const auto tool = folder.file("b.json", "[{\"messages\": [\n{\"role\": \"tool\", \"content\": \"\"}]}]");
  CHECK(error_of({tool}, tokenizer) ==
        tool.string() + ":1: messages[0].role is 'tool', expected system, user or assistant");
  const auto turn = folder.file("c.jsonl", "\n{\"messages\": [{\"role\": \"assistant\", \"content\": \"\"}]}");
  CHECK(error_of({turn}, tokenizer, {.length = 2, .chat_template = chat_template("llama2")}) ==
        turn.string() + ":2: template llama2: message 0 is of role assistant, expected user");
  CHECK(error_of({turn}, PlainTokenizer())
            .starts_with(turn.string() + ":2: a chat, but the model's chat template is not known"));
  const auto pointer = folder.file("d.txt", "version https://git-lfs.github.com/spec/v1\n");
  CHECK(error_of({pointer}, tokenizer).find("Git LFS pointer") != std::string::npos);
  const auto small = folder.file("e.txt", "ab");
  CHECK(error_of({small}, tokenizer, {.length = 9}) ==
        small.string() + ": 1 documents have 3 tokens, too few for one row of 9");
  CHECK(error_of({folder.file("f.txt", "")}, tokenizer).ends_with("f.txt: the text is empty, expected documents"));
  CHECK_THROWS_AS(open_text({folder / "none"}, tokenizer), FileError);
  CHECK_THROWS_AS(open_text({}, tokenizer), ConfigError);
  CHECK_THROWS_AS(open_text({small}, tokenizer, {.length = 1}), ConfigError);
  CHECK_THROWS_AS(open_text({fs::temp_directory_path()}, tokenizer), FileError);
}

TEST_CASE("an error in a text leaves no cache") {
  const TextFolder folder;
  const auto lines = folder.file("a.jsonl", "{\"text\": \"aaaa\"}\n{}\n");
  CHECK_THROWS_AS(open_text({lines}, chat_tokenizer(), {.length = 2, .cache = folder / "cache"}), FormatError);
  CHECK(files_in(folder / "cache").empty());
}

TEST_CASE("real texts: nothing is lost") {
  const char* root = std::getenv("LOLCATS_DATA");
  if (!root) {
    MESSAGE("skipped: LOLCATS_DATA is not set");
    return;
  }
  const fs::path data(root);
  const PlainTokenizer tokenizer = chat_tokenizer();
  const auto info = [&](const char* file, bool lines = false) {
    return *open_text({data / file}, tokenizer, {.length = 64, .line_documents = lines}).packed_info();
  };
  const PackedInfo alpaca = info("alpaca/alpaca_5000.json");
  CHECK(alpaca.documents == 4996);
  CHECK(alpaca.skipped == 4);
  CHECK(info("text/gsm8k_train_alpaca_format.json").documents == 7473);
  CHECK(info("text/c4_demo.jsonl").documents == 300);
  CHECK(info("text/wiki_demo.txt", true).documents == 30);
  CHECK(info("tinystories/train.txt").documents == 900);
}
