#include "../../train/tiny_llama.hpp"
#include "support.hpp"

#include <lolcats/eval/tasks/run.hpp>

using namespace lolcats;
using tasks_test::contains, tasks_test::error_of, tasks_test::Folder, tasks_test::PieceTokenizer;

namespace {

/// A model over the tokens of PieceTokenizer, and more.
tiny::Teacher model_of(Index vocabulary, Index positions = 4096) {
  auto config = tiny::config(1);
  config.vocab_size = vocabulary;
  config.max_position = positions;
  return random_llama<tiny::Teacher>(config, 3, 0.4);
}

void write_benchmarks(const Folder& folder) {
  std::string piqa, arc, hellaswag, winogrande;
  for (int i = 0; i < 7; ++i) {
    piqa += fmt::format(R"({{"goal": "g{0}", "sol1": "one {0}", "sol2": "zw\u00f6lf und {0}", "label": {1}}})"
                        "\n",
                        i, i % 2);
    arc += fmt::format(
        R"({{"question": {{"stem": "s{0}?", "choices": [{{"text": "a{0}", "label": "A"}}, {{"text": "bbb", "label": "B"}}, {{"text": "{0}{0}c", "label": "C"}}]}}, "answerKey": "{1}"}})"
        "\n",
        i, "ABC"[i % 3]);
    hellaswag += fmt::format(
        R"({{"activity_label": "L{0}", "ctx_a": "A.", "ctx_b": "he", "label": {1}, "endings": ["w{0}", "x", "yy", "zzz"]}})"
        "\n",
        i, i % 4);
    winogrande += fmt::format(
        R"({{"sentence": "X{0} saw Y and _ left {0}.", "option1": "X{0}", "option2": "Y", "answer": "{1}"}})"
        "\n",
        i, 1 + i % 2);
  }
  folder.write("piqa/valid.jsonl", piqa);
  folder.write("arc/easy/test.jsonl", arc);
  folder.write("arc/challenge/test.jsonl", arc);
  folder.write("hellaswag/hellaswag_val.jsonl", hellaswag);
  folder.write("winogrande/dev.jsonl", winogrande);
  for (const std::string subject : {"one", "two"}) {
    std::string csv;
    for (int i = 0; i < (subject == "one" ? 4 : 9); ++i)
      csv += fmt::format("{} q{}?,a,b,c,d{},{}\n", subject, i, i, "ABCD"[i % 4]);
    folder.write("mmlu/test/" + subject + "_test.csv", csv);
    folder.write("mmlu/dev/" + subject + "_dev.csv", csv + csv);
  }
}

const TaskResult& find(const TaskReport& report, const std::string& name) {
  for (const TaskResult& result : report.results) {
    if (result.name == name) return result;
  }
  FAIL("no result " << name);
  return report.results[0];
}
double value(const TaskResult& result, const std::string& metric) {
  for (const Metric& m : result.metrics) {
    if (m.name == metric) return m.value;
  }
  FAIL("no metric " << metric);
  return 0;
}

/// Log-likelihood by the logits of one text at a time.
double plain_sum(tiny::Teacher& model, const Continuation& c) {
  std::vector<Index> text = c.context;
  text.insert(text.end(), c.continuation.begin(), c.continuation.end());
  Tape<Cpu<double>> tape;
  const auto logits = model.logits(tape, text, Sequences::rectangular(1, static_cast<Index>(text.size()))).value();
  double sum = 0;
  for (std::size_t i = c.context.size(); i < text.size(); ++i) {
    const double* row = logits.data + static_cast<Index>(i - 1) * logits.cols();
    double total = 0;
    for (Index v = 0; v < logits.cols(); ++v) total += std::exp(row[v]);
    sum += row[text[i]] - std::log(total);
  }
  return sum;
}

}  // namespace

TEST_CASE("run_tasks: every benchmark against scores by hand, in both conventions") {
  const Folder folder("run");
  write_benchmarks(folder);
  const PieceTokenizer tokenizer({"Question:", "Answer:", " the", "\n"}, true);
  auto model = model_of(300);
  LanguageModelOf<tiny::Teacher> scored(model);
  for (const std::string convention : {"harness", "harness-2023"}) {
    CAPTURE(convention);
    TaskOptions options{.tasks = {"piqa", "arc_easy", "arc_challenge", "hellaswag", "winogrande", "mmlu"},
                        .data = folder.path,
                        .shots = 2,
                        .limit = 5,
                        .convention = convention};
    const TaskSet set = load_tasks(options);
    Index progressed = 0, told = 0;
    TaskHooks hooks;
    hooks.progress = [&](const std::string&, Index done, Index total) {
      CHECK(done <= total);
      ++progressed;
    };
    hooks.result = [&](const TaskResult&) { ++told; };
    const TaskReport report = run_tasks(scored, tokenizer, set, hooks);
    CHECK(progressed > 0);
    CHECK(told == static_cast<Index>(report.results.size()));
    CHECK(report.results.size() == 5 + 3);
    CHECK(report.config["bos"] == (convention == "harness"));
    CHECK(report.config["convention"] == convention);
    CHECK(report.config["limit"] == 5);
    CHECK(report.config["model"] == tiny::Teacher::name());
    double right_of_all = 0, mean_of_means = 0;
    for (const Benchmark& task : set.benchmarks) {
      CAPTURE(task.name);
      const auto prompts = make_prompts(task, lolcats::convention(convention), 2, 5);
      double acc = 0, norm = 0, bytes = 0;
      for (const auto& question : prompts) {
        const auto best = [&](auto&& divisor) {
          std::size_t at = 0;
          double most = -1e300;
          for (std::size_t c = 0; c < question.prompts.size(); ++c) {
            const double x =
                plain_sum(model, encode_prompt({tokenizer, convention == "harness"}, question.prompts[c]).tokens) /
                divisor(question.question.choices[c]);
            if (x > most) at = c;
            most = std::max(most, x);
          }
          return static_cast<Index>(at) == question.question.answer;
        };
        acc += best([](const std::string&) { return 1.0; });
        norm += best([](const std::string& s) { return static_cast<double>(python::length(s)); });
        bytes += best([](const std::string& s) { return static_cast<double>(s.size()); });
      }
      const auto n = static_cast<double>(prompts.size());
      const TaskResult& got = find(report, task.name);
      CHECK(got.scored == static_cast<Index>(prompts.size()));
      CHECK(got.questions == static_cast<Index>(task.questions.size()));
      CHECK(got.shots == 2);
      CHECK(value(got, "acc") == doctest::Approx(acc / n));
      if (task.normalized) {
        CHECK(value(got, "acc_norm") == doctest::Approx(norm / n));
        CHECK(value(got, "acc_bytes") == doctest::Approx(bytes / n));
      } else {
        CHECK(got.metrics.size() == 1);
      }
      if (task.group == "mmlu") {
        right_of_all += acc;
        mean_of_means += acc / n / 2;
      }
    }
    const TaskResult& mmlu = find(report, "mmlu");
    CHECK(mmlu.scored == 4 + 5);
    CHECK(mmlu.questions == 13);
    CHECK(value(mmlu, "acc") == doctest::Approx(convention == "harness" ? right_of_all / 9 : mean_of_means));
    const auto json = report.json();
    CHECK(json["results"]["piqa"].contains("acc_norm_stderr,none"));
    CHECK(json["group_subtasks"]["mmlu"].dump() == R"(["mmlu_one","mmlu_two"])");
    CHECK(json["details"]["piqa"]["right"].get<std::string>().size() == 5);
    CHECK(contains(report.table(), "hellaswag"));
  }
}

TEST_CASE("run_tasks: prompts that are too long are cut and counted; one subject of MMLU by its name") {
  const Folder folder("run-long");
  write_benchmarks(folder);
  const PieceTokenizer tokenizer;
  auto model = model_of(258, 100);
  LanguageModelOf<tiny::Teacher> scored(model);
  const TaskReport report =
      run_tasks(scored, tokenizer, load_tasks({.tasks = {"mmlu_two", "piqa"}, .data = folder.path}));
  REQUIRE(report.results.size() == 2);
  CHECK(report.results[0].name == "mmlu_two");
  CHECK(report.results[0].shots == 5);
  CHECK(report.results[0].cut == 9 * 4);
  CHECK(report.results[0].tokens == 9 * 100);  // four choices of one letter cost no more than their context
  CHECK(report.results[1].cut == 0);
  CHECK(report.results[1].shots == 0);
  CHECK_FALSE(report.config["bos"].get<bool>());
}

TEST_CASE("run_tasks: texts, pass keys, needles and recall") {
  const Folder folder("run-texts");
  std::string prose;
  for (int i = 0; i < 200; ++i) prose += fmt::format("Sentence {} of many. ", i * i);
  const auto text = folder.write("prose.txt", prose + "\n<|endoftext|>\n" + prose);
  const auto lines =
      folder.write("pages.jsonl", fmt::format("{{\"text\": \"{0}\"}}\n{{\"text\": \"{0}\", \"url\": \"u\"}}\n", prose));
  const PieceTokenizer tokenizer({"<|endoftext|>"});
  auto model = model_of(600);
  LanguageModelOf<tiny::Teacher> scored(model);
  TaskOptions options{.tasks = {"perplexity", "passkey", "needle", "recall"},
                      .texts = {text, lines},
                      .length = 128,
                      .lengths = {220, 330},
                      .passkeys = 4};
  const TaskReport report = run_tasks(scored, tokenizer, load_tasks(options));
  REQUIRE(report.results.size() == 2 + 2 + 2 + 1);
  // The same rows by hand: documents, the separator's token behind each (here EOS).
  std::vector<Index> tokens;
  for (int i = 0; i < 2; ++i) {
    const auto part = tokenizer.encode(strip(prose), false);
    tokens.insert(tokens.end(), part.begin(), part.end());
    tokens.push_back(257);
  }
  std::vector<Row> rows;
  for (std::size_t at = 0; at + 128 <= tokens.size(); at += 128) {
    const std::vector<Index> row(tokens.begin() + static_cast<std::ptrdiff_t>(at),
                                 tokens.begin() + static_cast<std::ptrdiff_t>(at + 128));
    rows.push_back({row, row, {0}});
  }
  const TextLoss want = text_loss(scored, DataSet(rows));
  CHECK(value(find(report, "perplexity_prose"), "perplexity") == doctest::Approx(want.perplexity).epsilon(1e-12));
  CHECK(find(report, "perplexity_prose").scored == static_cast<Index>(rows.size()));
  CHECK(find(report, "perplexity_pages").details["positions"].size() == 2);
  for (const char* name : {"passkey_220", "passkey_330", "needle_220", "needle_330"}) {
    const TaskResult& result = find(report, name);
    CHECK(result.scored == 4);
    CHECK(result.details["keys"].size() == 4);
    CHECK(value(result, "acc") <= 1);
  }
  // One generator draws for all lengths in turn.
  PythonRandom random(0);
  filler_passkeys({tokenizer}, 220, 4, random);
  CHECK(find(report, "passkey_330").details["keys"][0]["key"] == filler_passkeys({tokenizer}, 330, 1, random)[0].key);
  CHECK(find(report, "recall").questions > 100);
  CHECK(find(report, "recall").details["by_distance"].size() == 4);

  options.tasks = {"passkey"};
  options.passkey_shuffle = 10;
  PythonRandom shuffled(0);
  std::vector<int> ten(10);
  shuffled.shuffle(ten);
  CHECK(run_tasks(scored, tokenizer, load_tasks(options)).results[0].details["keys"][0]["key"] ==
        filler_passkeys({tokenizer}, 220, 1, shuffled)[0].key);
}

TEST_CASE("load_tasks and run_tasks: what is refused, before any work") {
  const Folder folder("run-refused");
  write_benchmarks(folder);
  const auto error = [&](TaskOptions options) { return error_of<Error>([&] { load_tasks(options); }); };
  CHECK(contains(error({.tasks = {"piqa", "boolq"}, .data = folder.path}), "task 'boolq' is unknown"));
  CHECK(contains(error({.tasks = {"piqa"}, .data = folder.path, .convention = "today"}),
                 "convention 'today' is unknown"));
  CHECK(contains(error({.tasks = {"piqa", "piqa"}, .data = folder.path}), "named twice"));
  CHECK(contains(error({.tasks = {}}), "no tasks"));
  CHECK(contains(error({.tasks = {"piqa"}}), "needs a folder of data"));
  CHECK(contains(error({.tasks = {"piqa"}, .data = folder.path / "nowhere"}), "no data of task 'piqa'"));
  CHECK(contains(error({.tasks = {"mmlu_three"}, .data = folder.path}), "no data of task 'mmlu_three'"));
  CHECK(contains(error({.tasks = {"piqa"}, .data = folder.path, .shots = 7}), "expected 8 for 7 shots"));
  CHECK(contains(error({.tasks = {"piqa"}, .data = folder.path, .limit = -1}), "too small"));
  CHECK(contains(error({.tasks = {"perplexity"}}), "need a text"));
  CHECK(contains(error({.tasks = {"needle"}, .texts = {folder.path / "none.txt"}}), "none.txt"));

  auto model = model_of(257);
  LanguageModelOf<tiny::Teacher> scored(model);
  const PieceTokenizer tokenizer;
  const TaskSet set = load_tasks({.tasks = {"piqa"}, .data = folder.path});
  CHECK(contains(error_of<ConfigError>([&] { run_tasks(scored, tokenizer, set); }),
                 "258 tokens, expected at most the 257"));
}
