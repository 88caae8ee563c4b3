#include "support.hpp"

#include <lolcats/eval/tasks/commonsense.hpp>

using namespace lolcats;
using tasks_test::contains, tasks_test::error_of, tasks_test::Folder;

TEST_CASE("piqa: prompts, labels beside and inside") {
  const Folder folder("piqa");
  const std::string lines =
      "{\"goal\": \"Cool a hot pan\", \"sol1\": \"Put it in water \", \"sol2\": \"Put it in oil\"}\r\n"
      "\n"
      "{\"goal\": \"\\u00e4\", \"sol1\": \"x\", \"sol2\": \"y\", \"id\": 7}\n";
  const auto file = folder.write("piqa/valid.jsonl", lines);
  CHECK(contains(error_of<DataError>([&] { read_piqa(file); }), "valid-labels.lst"));
  folder.write("piqa/valid-labels.lst", "1\n0\n");
  const auto questions = read_piqa(file);
  const std::vector<Question> want = {{{"Question: Cool a hot pan\nAnswer:"}, {"Put it in water ", "Put it in oil"}, 1},
                                      {{"Question: \u00e4\nAnswer:"}, {"x", "y"}, 0}};
  CHECK(questions == want);
  const auto inside = folder.write("train.jsonl", "{\"goal\": \"g\", \"sol1\": \"a\", \"sol2\": \"b\", \"label\": 1}");
  CHECK(read_piqa(inside)[0].answer == 1);

  folder.write("piqa/valid-labels.lst", "1\n2\n");
  CHECK(contains(error_of<DataError>([&] { read_piqa(file); }),
                 "valid-labels.lst: line 2: the label is '2', expected 0 to 1"));
  folder.write("piqa/valid-labels.lst", "1\n0\n1\n");
  CHECK(contains(error_of<DataError>([&] { read_piqa(file); }), "holds 3 labels, expected 2"));
}

TEST_CASE("piqa: shots come from the training set, or from the questions, and the folder may be the task's own") {
  const Folder folder("piqa-shots");
  const std::string line = "{\"goal\": \"g\", \"sol1\": \"a\", \"sol2\": \"b\", \"label\": 1}\n";
  folder.write("piqa/valid.jsonl", line + line);
  Benchmark task = read_commonsense("piqa", folder.path);
  CHECK(task.questions.size() == 2);
  CHECK(task.shots == task.questions);
  CHECK(task.shots_file == task.file);
  CHECK(task.normalized);
  folder.write("piqa/train.jsonl", line + line + line);
  task = read_commonsense("piqa", folder.path / "piqa");
  CHECK(task.shots.size() == 3);
  CHECK(contains(task.shots_file, "train.jsonl"));
  CHECK(contains(error_of<DataError>([&] { read_commonsense("hellaswag", folder.path); }), "hellaswag_val.jsonl"));
  CHECK_THROWS_AS(read_commonsense("boolq", folder.path), ConfigError);
}

TEST_CASE("arc: letters, digits, three to five choices") {
  const Folder folder("arc");
  const auto line = [](const std::string& key, const std::string& labels) {
    std::string text = R"({"id": "q", "question": {"stem": "Why?", "choices": [)";
    for (std::size_t i = 0; i < labels.size(); ++i) {
      text += (i ? ", " : "") + std::string(R"({"text": "c)") + labels[i] + R"(", "label": ")" + labels[i] + "\"}";
    }
    return text + R"(]}, "answerKey": ")" + key + "\"}\n";
  };
  const auto file = folder.write("arc/easy/test.jsonl", line("C", "ABCD") + line("1", "123") + line("E", "ABCDE") +
                                                            line("B", "1234") + line("3", "ABC"));
  const auto questions = read_arc(file);
  REQUIRE(questions.size() == 5);
  CHECK(questions[3].answer == 1);  // letters for answers, digits for choices, and the other way
  CHECK(questions[4].answer == 2);
  CHECK(questions[0] == Question{{"Question: Why?\nAnswer:"}, {"cA", "cB", "cC", "cD"}, 2});
  CHECK(questions[1].answer == 0);
  CHECK(questions[2].answer == 4);
  CHECK(read_commonsense("arc_easy", folder.path).questions == questions);
  CHECK_FALSE(read_commonsense("arc_easy", folder.path).normalized == false);
  folder.write("arc/challenge/test.jsonl", line("E", "ABCD"));
  CHECK(contains(error_of<DataError>([&] { read_commonsense("arc_challenge", folder.path); }),
                 "test.jsonl: line 1: 'answerKey' is 'E', expected one of A, B, C, D"));
  folder.write("arc/challenge/test.jsonl", line("", "ABCD"));
  CHECK(contains(error_of<DataError>([&] { read_commonsense("arc_challenge", folder.path); }), "has no answer"));
}

TEST_CASE("hellaswag: marks of WikiHow are dropped as the harness drops them") {
  // What Python's strip, replace, re.sub and replace make of it, step by step, written out.
  CHECK(detail::hellaswag_text("  A [title] b  c   d [step] e[] f [x\ny] g]h [") == "A. b c  d e f [x\ny] g]h [");
  CHECK(detail::hellaswag_text("a [b[c] d]") == "a d]");
  const Folder folder("hellaswag");
  const auto file = folder.write(
      "hellaswag_val.jsonl",
      R"({"ind": 24, "activity_label": "Roof shingle removal", "ctx_a": "A man is sitting on a roof.", "ctx_b": "he", "ctx": "-", )"
      R"("split": "val", "split_type": "indomain", "label": 3, "endings": ["is [step] up.", " b ", "c", "d"], "source_id": "s"})"
      "\n"
      R"({"activity_label": "L", "ctx_a": "a", "ctx_b": "", "label": "0", "endings": ["1", "2", "3", "4"]})");
  const auto questions = read_hellaswag(file);
  REQUIRE(questions.size() == 2);
  CHECK(questions[0] ==
        Question{{"Roof shingle removal: A man is sitting on a roof. He"}, {"is up.", "b", "c", "d"}, 3});
  CHECK(questions[1].contexts[0] == "L: a");
  CHECK(questions[1].answer == 0);
  folder.write("hellaswag_val.jsonl",
               R"({"activity_label": "L", "ctx_a": "a", "ctx_b": "b", "label": 4, "endings": ["1", "2", "3", "4"]})");
  CHECK(contains(error_of<DataError>([&] { read_hellaswag(file); }), "line 1: 'label' is 4, expected 0 to 3"));
  folder.write("hellaswag_val.jsonl",
               R"({"activity_label": "L", "ctx_a": "a", "ctx_b": "b", "label": "", "endings": ["1", "2", "3", "4"]})");
  CHECK(contains(error_of<DataError>([&] { read_hellaswag(file); }), "has no answers"));
  folder.write("hellaswag_val.jsonl",
               R"({"activity_label": "L", "ctx_a": "a", "ctx_b": "b", "label": 1, "endings": ["1", "2", "3"]})");
  CHECK(contains(error_of<DataError>([&] { read_hellaswag(file); }), "'endings' holds 3, expected 4"));
}

TEST_CASE("winogrande: two contexts and one continuation") {
  const Folder folder("winogrande");
  const auto file = folder.write(
      "winogrande/dev.jsonl",
      R"({"qID": "3", "sentence": "Ann gave Eve a coat because _ was cold _ .", "option1": "Ann", "option2": "Eve", "answer": "2"})");
  const auto questions = read_winogrande(file);
  CHECK(questions == std::vector<Question>{{{"Ann gave Eve a coat because Ann", "Ann gave Eve a coat because Eve"},
                                            {"was cold _ .", "was cold _ ."},
                                            1}});
  folder.write("winogrande/dev.jsonl", R"({"qID": "3", "sentence": "a _ b", "option1": "x", "option2": "y"})");
  folder.write("winogrande/dev-labels.lst", "1\n");
  CHECK(read_commonsense("winogrande", folder.path).questions[0].answer == 0);
  CHECK_FALSE(read_commonsense("winogrande", folder.path).normalized);
  folder.write("winogrande/dev.jsonl",
               R"({"qID": "3", "sentence": "a b", "option1": "x", "option2": "y", "answer": "1"})");
  CHECK(contains(error_of<DataError>([&] { read_winogrande(file); }), "expected a '_' in it"));
  folder.write("winogrande/dev.jsonl",
               R"({"qID": "3", "sentence": "a _ b", "option1": "x", "option2": "y", "answer": "3"})");
  CHECK(contains(error_of<DataError>([&] { read_winogrande(file); }), "'answer' is \"3\", expected 1 to 2"));
}

TEST_CASE("records: file, line and field of what is wrong") {
  const Folder folder("records");
  const auto error = [&](const std::string& text) {
    const auto file = folder.write("valid.jsonl", text);
    return error_of<DataError>([&] { read_piqa(file); });
  };
  const std::string good = R"({"goal": "g", "sol1": "a", "sol2": "b", "label": 0})"
                           "\n";
  CHECK(contains(error(good + R"({"goal": "g", "sol1": "a", "label": 0})"),
                 "valid.jsonl: line 2: 'sol2' is missing, expected a string"));
  CHECK(contains(error(good + "\n" + R"({"goal": 3, "sol1": "a", "sol2": "b", "label": 0})"),
                 "valid.jsonl: line 3: 'goal' is 3, expected a string"));
  CHECK(contains(error(good + "[1]"), "valid.jsonl: line 2: is [1], expected an object"));
  CHECK(contains(error(good + "{\"goal\": "), "valid.jsonl: line 2: is not valid JSON"));
  CHECK(contains(error(R"({"goal": "g", "sol1": "a", "sol2": "b", "label": 0.5})"), "'label' is 0.5, expected 0 to 1"));
  CHECK(contains(error(""), "holds no records"));
  CHECK(contains(error(" \n\t\n"), "holds no records"));
  CHECK(error("\xef\xbb\xbf" + good) == "no error");
}

TEST_CASE("real files: counts and first prompts") {
  const auto data = tasks_test::real_data();
  if (!data) return;
  const Benchmark piqa = read_commonsense("piqa", *data);
  CHECK(piqa.questions.size() == 1838);
  CHECK(piqa.questions[1] == Question{{"Question: dresser\nAnswer:"},
                                      {"replace drawer with bobby pin ", "finish, woodgrain with  bobby pin "},
                                      1});
  const Benchmark easy = read_commonsense("arc_easy", *data),
                  challenge = read_commonsense("arc_challenge", *data / "arc");
  CHECK(easy.questions.size() == 2365);
  CHECK(challenge.questions.size() == 1165);
  CHECK(easy.questions[1].contexts[0] ==
        "Question: Which piece of safety equipment is used to keep mold spores from entering the respiratory "
        "system?\nAnswer:");
  CHECK(easy.questions[1].answer == 1);
  CHECK(contains(easy.shots_file, "dev.jsonl"));
}
