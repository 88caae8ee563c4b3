// MMLU, from the csv files that its authors publish.
#pragma once

#include <lolcats/eval/tasks/benchmark.hpp>
#include <lolcats/eval/tasks/csv.hpp>
#include <lolcats/eval/tasks/python_text.hpp>
#include <lolcats/io/file.hpp>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lolcats {

/// The questions of one file: question, four choices, and the answer as A to D or 0 to 3, with or without a first line
/// of names.  Hendrycks et al. 2021, arXiv:2009.03300.  Errors: FileError, DataError.
inline std::vector<Question> read_mmlu(const std::filesystem::path& path) {
  const std::string file = path.string();
  std::vector<CsvRow> rows = parse_csv(MappedFile(path).text(), file);
  if (!rows.empty() && rows[0].cells.back() == "answer") rows.erase(rows.begin());
  require<DataError>(!rows.empty(), "{}: holds no questions", file);
  std::vector<Question> questions;
  for (const CsvRow& row : rows) {
    const auto& cells = row.cells;
    require<DataError>(cells.size() != 5,
                       "{}: line {}: has no answer: 5 cells, expected a question, four choices and an answer", file,
                       row.line);
    require<DataError>(cells.size() == 6,
                       "{}: line {}: holds {} cells, expected 6: a question, four choices and an answer", file,
                       row.line, cells.size());
    const std::string_view answer = python::strip(cells[5]);
    const std::size_t letter = std::string_view("ABCD").find(answer), digit = std::string_view("0123").find(answer);
    require<DataError>(answer.size() == 1 && (letter < 4 || digit < 4),
                       "{}: line {}: the answer is '{}', expected A to D or 0 to 3", file, row.line,
                       answer.substr(0, 80));
    questions.push_back({{fmt::format("{}\nA. {}\nB. {}\nC. {}\nD. {}\nAnswer:", python::strip(cells[0]), cells[1],
                                      cells[2], cells[3], cells[4])},
                         {"A", "B", "C", "D"},
                         static_cast<Index>(letter < 4 ? letter : digit)});
  }
  return questions;
}

/// The subjects that are there, by name: files test/SUBJECT_test.csv and dev/SUBJECT_dev.csv below `data`, its folder
/// mmlu, or its folder data.  Errors: DataError, FileError.
inline std::vector<Benchmark> read_mmlu_subjects(const std::filesystem::path& data) {
  const std::filesystem::path tests =
      detail::require_file("mmlu", data, {"mmlu/test", "mmlu/data/test", "data/test", "test"});
  std::vector<std::filesystem::path> files;
  std::error_code failure;
  for (std::filesystem::directory_iterator at(tests, failure), end; !failure && at != end; at.increment(failure)) {
    if (at->path().filename().string().ends_with("_test.csv")) files.push_back(at->path());
  }
  require<DataError>(!failure, "{}: cannot be read: {}", tests.string(), failure.message());
  require<DataError>(!files.empty(), "{}: no data of task 'mmlu', expected files SUBJECT_test.csv", tests.string());
  std::sort(files.begin(), files.end());
  std::vector<Benchmark> subjects;
  for (const auto& file : files) {
    const std::string stem = file.stem().string(), subject = stem.substr(0, stem.size() - 5);
    Benchmark task;
    task.name = "mmlu_" + subject;
    task.group = "mmlu";
    task.description = fmt::format("The following are multiple choice questions (with answers) about {}.\n\n",
                                   python::replace(subject, "_", " "));
    task.normalized = false;  // all choices have one letter
    task.default_shots = 5;
    task.first_shots = true;
    task.file = file.string();
    task.questions = read_mmlu(file);
    const std::filesystem::path dev = tests.parent_path() / "dev" / (subject + "_dev.csv");
    task.shots_file = dev.string();
    if (path_exists(dev)) task.shots = read_mmlu(dev);
    subjects.push_back(std::move(task));
  }
  return subjects;
}

}  // namespace lolcats
