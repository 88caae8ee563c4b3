#include "support.hpp"

#include <lolcats/eval/tasks/commonsense.hpp>
#include <lolcats/eval/tasks/mmlu.hpp>
#include <lolcats/eval/tasks/prompts.hpp>

using namespace lolcats;
using tasks_test::contains, tasks_test::error_of, tasks_test::PieceTokenizer;

namespace {

/// Questions "Q0", "Q1", ... with the right answer "r0" second.
std::vector<Question> numbered(const std::string& letter, Index count) {
  std::vector<Question> list;
  for (Index i = 0; i < count; ++i) {
    list.push_back({{fmt::format("{}{}", letter, i)}, {fmt::format("w{}", i), fmt::format("r{}", i)}, 1});
  }
  return list;
}

Benchmark task_of(Index questions, Index shots) {
  Benchmark task;
  task.name = "test";
  task.file = "questions";
  task.shots_file = "shots";
  task.questions = numbered("Q", questions);
  task.shots = numbered("S", shots);
  return task;
}

std::vector<std::string> contexts(const std::vector<PromptedQuestion>& list) {
  std::vector<std::string> all;
  for (const auto& question : list) all.push_back(question.prompts.at(0).context);
  return all;
}

}  // namespace

TEST_CASE("conventions by name") {
  CHECK(convention("harness").bos);
  CHECK(convention("harness-2023").shuffled);
  CHECK(contains(error_of<ConfigError>([] { convention("leaderboard"); }), "expected harness or harness-2023"));
}

TEST_CASE("prompts without shots: today in the order of the file, in 2023 as Random(42) shuffled") {
  const Benchmark task = task_of(6, 0);
  const auto today = make_prompts(task, harness, 0);
  CHECK(contexts(today) == std::vector<std::string>{"Q0", "Q1", "Q2", "Q3", "Q4", "Q5"});
  CHECK(today[2].prompts[0].continuation == " w2");
  CHECK(today[2].prompts[1].continuation == " r2");
  CHECK(contexts(make_prompts(task, harness, 0, 2)) == std::vector<std::string>{"Q0", "Q1"});
  // CPython: x = list(range(6)); random.Random(42).shuffle(x)
  CHECK(contexts(make_prompts(task, harness_2023, 0)) == std::vector<std::string>{"Q3", "Q1", "Q2", "Q4", "Q0", "Q5"});
  CHECK(contexts(make_prompts(task, harness_2023, 0, 2)) == std::vector<std::string>{"Q3", "Q1"});
  CHECK(make_prompts(task, harness, 0, 100).size() == 6);
}

TEST_CASE("shots of a training set: drawn for each question in turn") {
  const Benchmark task = task_of(3, 40);
  // CPython: r = random.Random(1234); r.sample(range(40), 2) three times
  CHECK(contexts(make_prompts(task, harness, 2)) ==
        std::vector<std::string>{"S28 r28\n\nS7 r7\n\nQ0", "S0 r0\n\nS5 r5\n\nQ1", "S37 r37\n\nS2 r2\n\nQ2"});
  // CPython: r = random.Random(42); x = [0, 1, 2]; r.shuffle(x); r.sample(range(40), 2) three times
  CHECK(contexts(make_prompts(task, harness_2023, 2)) ==
        std::vector<std::string>{"S1 r1\n\nS17 r17\n\nQ1", "S15 r15\n\nS14 r14\n\nQ0", "S8 r8\n\nS6 r6\n\nQ2"});
}

TEST_CASE("shots of the questions themselves: one more is drawn, and the question is left out") {
  Benchmark task = task_of(4, 0);
  task.shots = task.questions;
  task.shots_file = task.file;
  for (const Convention* rules : {&harness, &harness_2023}) {
    PythonRandom random(rules->seed);
    std::vector<Index> order = {0, 1, 2, 3};
    if (rules->shuffled) random.shuffle(order);
    const auto prompts = make_prompts(task, *rules, 2);
    for (std::size_t i = 0; i < 4; ++i) {
      std::string want;
      Index taken = 0;
      for (const Index place : random.sample(4, 3)) {
        if (place == order[i] || taken == 2) continue;
        want += fmt::format("Q{0} r{0}\n\n", place);
        ++taken;
      }
      CHECK(prompts[i].prompts[1].context == want + fmt::format("Q{}", order[i]));
    }
  }
  CHECK(contains(error_of<DataError>([&] { make_prompts(task, harness, 4); }),
                 "questions: there are 4 questions to draw shots from, expected 5"));
}

TEST_CASE("today one more shot is drawn where a task names no split for shots, and not in 2023") {
  Benchmark task = task_of(2, 30);
  task.shots_exclude_question = true;
  PythonRandom today(1234);
  const auto prompts = make_prompts(task, harness, 1);
  for (std::size_t i = 0; i < 2; ++i) {
    const Index first = today.sample(30, 2)[0];
    CHECK(prompts[i].prompts[0].context == fmt::format("S{0} r{0}\n\nQ{1}", first, i));
  }
  task.shots_exclude_question = false;
  const auto plain = contexts(make_prompts(task, harness_2023, 1));
  task.shots_exclude_question = true;
  CHECK(contexts(make_prompts(task, harness_2023, 1)) == plain);
}

TEST_CASE("golden prompts of each task") {
  const tasks_test::Folder folder("prompts");
  folder.write("piqa/valid.jsonl", R"({"goal": "Cool a pan", "sol1": "Use water", "sol2": "Use oil", "label": 0})"
                                   "\n"
                                   R"({"goal": "Dry a sock", "sol1": "Sun", "sol2": "Rain", "label": 0})"
                                   "\n");
  auto prompts = make_prompts(read_commonsense("piqa", folder.path), harness, 1);
  CHECK(prompts[0].prompts[1].context + prompts[0].prompts[1].continuation ==
        "Question: Dry a sock\nAnswer: Sun\n\nQuestion: Cool a pan\nAnswer: Use oil");

  folder.write("winogrande/dev.jsonl",
               R"({"sentence": "Ann met Eve and _ smiled.", "option1": "Ann", "option2": "Eve", "answer": "2"})"
               "\n");
  folder.write(
      "winogrande/train_xl.jsonl",
      R"({"sentence": "A cup fell on a mat as the _ was wet. ", "option1": "cup", "option2": "mat", "answer": "1"})"
      "\n"
      R"({"sentence": "A cup fell on a mat as the _ was wet. ", "option1": "cup", "option2": "mat", "answer": "1"})"
      "\n");
  prompts = make_prompts(read_commonsense("winogrande", folder.path), harness, 1);
  CHECK(prompts[0].prompts[0].context == "A cup fell on a mat as the cup was wet.\n\nAnn met Eve and Ann");
  CHECK(prompts[0].prompts[1].context == "A cup fell on a mat as the cup was wet.\n\nAnn met Eve and Eve");
  CHECK(prompts[0].prompts[0].continuation == " smiled.");
  CHECK(prompts[0].prompts[1].continuation == " smiled.");

  folder.write("mmlu/test/old_maps_test.csv", "Where?,here,there,up,down,C\n");
  folder.write("mmlu/dev/old_maps_dev.csv", "When?,now,then,1,2,B\nWho?,I,you,he,she,A\nNot this,a,b,c,d,D\n");
  prompts = make_prompts(read_mmlu_subjects(folder.path)[0], harness, 2);
  CHECK(prompts[0].prompts[3].context + prompts[0].prompts[3].continuation ==
        "The following are multiple choice questions (with answers) about old maps.\n\n"
        "When?\nA. now\nB. then\nC. 1\nD. 2\nAnswer: B\n\n"
        "Who?\nA. I\nB. you\nC. he\nD. she\nAnswer: A\n\n"
        "Where?\nA. here\nB. there\nC. up\nD. down\nAnswer: D");
  CHECK(prompts[0].question.answer == 2);
  CHECK(contexts(make_prompts(read_mmlu_subjects(folder.path)[0], harness_2023, 2)) == contexts(prompts));
  CHECK(contains(error_of<DataError>([&] { make_prompts(read_mmlu_subjects(folder.path)[0], harness, 5); }),
                 "old_maps_dev.csv"));
}

TEST_CASE("tokens: context and continuation together, blanks move, BOS once") {
  const PieceTokenizer tokenizer({"ab", " b", "bc", " "});
  const Encoding plain{tokenizer}, with_bos{tokenizer, true};
  using Tokens = std::vector<Index>;
  EncodedPrompt prompt = encode_prompt(plain, {"ab", " bc"});
  CHECK(prompt.tokens.context == Tokens{258});
  CHECK(prompt.tokens.continuation == Tokens{259, 'c'});
  CHECK_FALSE(prompt.cut);
  prompt = encode_prompt(with_bos, {"ab", " bc"});
  CHECK(prompt.tokens.context == Tokens{256, 258});
  CHECK(prompt.tokens.continuation == Tokens{259, 'c'});
  CHECK(encode_prompt(with_bos, {"<s>ab", " bc"}).tokens.context == Tokens{256, 258});
  CHECK(encode_prompt(plain, {"<s>ab", " bc"}).tokens.context == Tokens{256, 258});  // special tokens are parsed
  // The blank at the end of the context is the continuation's: " b" is one token.
  prompt = encode_prompt(plain, {"ab ", "b"});
  CHECK(prompt.tokens.context == Tokens{258});
  CHECK(prompt.tokens.continuation == Tokens{259});
  // A token over the border: "ab" of "a" + "bc" is counted as many tokens as the context has alone; the rest is scored.
  prompt = encode_prompt(plain, {"a", "bc"});
  CHECK(prompt.tokens.context == Tokens{'a'});
  CHECK(prompt.tokens.continuation == Tokens{'c'});
  CHECK_THROWS_AS(encode_prompt(plain, {"a", "b"}), DataError);
  // Nothing in front: BOS, whether texts begin with it or not.
  CHECK(encode_prompt(plain, {"", "a"}).tokens.context == Tokens{256});
  CHECK(encode_prompt(with_bos, {" ", "a"}).tokens.context == Tokens{256});
  CHECK(encode_prompt(with_bos, {" ", "a"}).tokens.continuation == Tokens{261, 'a'});
}

TEST_CASE("tokens: too long a text loses its beginning") {
  const PieceTokenizer tokenizer;
  using Tokens = std::vector<Index>;
  // Five tokens of which the last is not read: four fit.
  EncodedPrompt prompt = encode_prompt({tokenizer, false, 4}, {"abc", "de"});
  CHECK(prompt.tokens.context == Tokens{'a', 'b', 'c'});
  CHECK_FALSE(prompt.cut);
  prompt = encode_prompt({tokenizer, false, 3}, {"abc", "de"});
  CHECK(prompt.tokens.context == Tokens{'b', 'c'});
  CHECK(prompt.tokens.continuation == Tokens{'d', 'e'});
  CHECK(prompt.cut);
  CHECK(encode_prompt({tokenizer, true, 3}, {"abc", "de"}).tokens.context == Tokens{'b', 'c'});  // BOS is lost, too
  CHECK(encode_prompt({tokenizer, false, 2}, {"abc", "de"}).tokens.context == Tokens{'c'});
  CHECK_THROWS_AS(encode_prompt({tokenizer, false, 1}, {"abc", "de"}), DataError);
}

TEST_CASE("tokens of many questions are those of each") {
  const PieceTokenizer tokenizer({"Q1", " r"});
  const Benchmark task = task_of(5, 5);
  const auto questions = make_prompts(task, harness, 2);
  const Encoding encoding{tokenizer, true, 12};
  const auto all = encode_prompts(encoding, questions);
  std::size_t at = 0;
  for (const auto& question : questions) {
    for (const Prompt& prompt : question.prompts) {
      const auto one = encode_prompt(encoding, prompt);
      CHECK(all[at].tokens.context == one.tokens.context);
      CHECK(all[at].tokens.continuation == one.tokens.continuation);
      CHECK(all[at++].cut == one.cut);
    }
  }
  CHECK(at == all.size());
}
