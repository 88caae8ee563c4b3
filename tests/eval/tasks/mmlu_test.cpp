#include "support.hpp"

#include <lolcats/eval/tasks/mmlu.hpp>

using namespace lolcats;
using tasks_test::contains, tasks_test::error_of, tasks_test::Folder;

TEST_CASE("mmlu: with and without names of columns, letters and digits") {
  const Folder folder("mmlu");
  const std::vector<Question> want = {
      {{"One, or two?\nA. 1\nB.  2\nC. 3, four\nD. \nAnswer:"}, {"A", "B", "C", "D"}, 1},
      {{"A \"word\"\nof two lines\nA. a\nB. b\nC. c\nD. d\nAnswer:"}, {"A", "B", "C", "D"}, 3}};
  const auto letters = folder.write("test/some_subject_test.csv", " \"One, or two?\",1, 2,\"3, four\",,B\n");
  CHECK(contains(error_of<DataError>([&] { read_mmlu(letters); }),
                 "line 1: holds 7 cells, expected 6"));  // as Python reads it
  folder.write("test/some_subject_test.csv",
               "\"One, or two? \",1, 2,\"3, four\",,B\n\"A \"\"word\"\"\nof two lines\",a,b,c,d,D");
  CHECK(read_mmlu(letters) == want);
  const auto digits =
      folder.write("dev/some_subject_dev.csv",
                   "question,choice0,choice1,choice2,choice3,answer\r\n\"One, or two?\",1, 2,\"3, four\",,1\r\n"
                   "\"A \"\"word\"\"\nof two lines\",a,b,c,d, 3\r\n");
  CHECK(read_mmlu(digits) == want);
  folder.write("test/other_test.csv", "q,a,b,c,d,A\n");
  const auto subjects = read_mmlu_subjects(folder.path);
  REQUIRE(subjects.size() == 2);
  CHECK(subjects[0].name == "mmlu_other");
  CHECK(subjects[1].name == "mmlu_some_subject");
  CHECK(subjects[1].group == "mmlu");
  CHECK(subjects[1].description ==
        "The following are multiple choice questions (with answers) about some subject.\n\n");
  CHECK(subjects[1].shots == want);
  CHECK(subjects[0].shots.empty());
  CHECK(contains(subjects[0].shots_file, "other_dev.csv"));
  CHECK(subjects[1].default_shots == 5);
}

TEST_CASE("mmlu: what is wrong, by file and line") {
  const Folder folder("mmlu-wrong");
  const auto error = [&](const std::string& text) {
    const auto file = folder.write("test/x_test.csv", text);
    return error_of<DataError>([&] { read_mmlu(file); });
  };
  CHECK(contains(error("q,a,b,c,d,A\nq,a,b,c,d,E\n"),
                 "x_test.csv: line 2: the answer is 'E', expected A to D or 0 to 3"));
  CHECK(contains(error("q,a,b,c,d,4\n"), "the answer is '4'"));
  CHECK(contains(error("q,a,b,c,d,\n"), "the answer is ''"));
  CHECK(contains(error("q,a,b,c,d,AB\n"), "the answer is 'AB'"));
  CHECK(contains(error("q,a,b,c,d\n"), "line 1: has no answer"));
  CHECK(contains(error("q,a,b\n"), "line 1: holds 3 cells"));
  CHECK(contains(error(""), "holds no questions"));
  CHECK(contains(error("question,A,B,C,D,answer\n"), "holds no questions"));
  const Folder empty("mmlu-empty");
  CHECK(contains(error_of<DataError>([&] { read_mmlu_subjects(empty.path); }), "no data of task 'mmlu'"));
  std::filesystem::create_directories(empty.path / "test");
  CHECK(contains(error_of<DataError>([&] { read_mmlu_subjects(empty.path); }), "SUBJECT_test.csv"));
}

TEST_CASE("mmlu: the real files") {
  const auto data = tasks_test::real_data();
  if (!data) return;
  const auto subjects = read_mmlu_subjects(*data);
  CHECK(subjects.size() == 8);
  for (const Benchmark& subject : subjects) {
    CHECK(subject.shots.size() == 5);
    CHECK(subject.questions.size() >= 100);
  }
}
