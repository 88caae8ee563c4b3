// PIQA, ARC, HellaSwag and WinoGrande, from the files that their authors publish.
#pragma once

#include <lolcats/eval/tasks/benchmark.hpp>
#include <lolcats/eval/tasks/json_lines.hpp>
#include <lolcats/eval/tasks/python_text.hpp>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lolcats {

namespace detail {

/// Labels of records without one, from the file beside them; nothing if the records have them all.
/// Throws DataError for records that have no answer anywhere.
inline std::vector<Index> labels_beside(const std::vector<Record>& records, const std::filesystem::path& file,
                                        std::string_view field, Index first, Index last) {
  const bool inside = std::all_of(records.begin(), records.end(), [&](const Record& r) { return r.has(field); });
  if (inside) return {};
  const std::filesystem::path beside = file.parent_path() / (file.stem().string() + "-labels.lst");
  require<DataError>(path_exists(beside), "{}: has no answers: no field '{}' and no file {}", file.string(), field,
                     beside.string());
  return read_labels(beside, first, last, records.size(), file);
}

/// The answer of record i, counted from 0.
inline Index answer_of(const std::vector<Record>& records, const std::vector<Index>& labels, std::size_t i,
                       std::string_view field, Index first, Index last) {
  return (labels.empty() ? records[i].number(field, first, last) : labels[i]) - first;
}

/// Questions of `file` by read(file), and shots: of the first of `shot_files` that exists, or the questions themselves.
template <class Read>
void fill(Benchmark& task, const std::filesystem::path& file, const std::vector<std::string>& shot_files, Read&& read) {
  task.file = file.string();
  task.questions = read(file);
  const std::filesystem::path beside = find_file(file.parent_path(), shot_files);
  if (beside.empty()) {
    task.shots = task.questions;
    task.shots_file = task.file;
    task.shots_exclude_question = true;
  } else {
    task.shots = read(beside);
    task.shots_file = beside.string();
  }
}

/// What HellaSwag's texts go through: marks of WikiHow are dropped.
inline std::string hellaswag_text(std::string_view raw) {
  const std::string text = python::replace(std::string(python::strip(raw)), " [title]", ". ");
  std::string kept;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text[at] == '[' ? text.find_first_of("]\n", at) : text.npos;
    if (end != text.npos && text[end] == ']') {
      at = end + 1;
    } else {
      kept += text[at++];
    }
  }
  return python::replace(std::move(kept), "  ", " ");
}

}  // namespace detail

/// PIQA (Bisk et al. 2019): lines with goal, sol1, sol2, and the answers 0 or 1 as `label` or in NAME-labels.lst.
inline std::vector<Question> read_piqa(const std::filesystem::path& file) {
  const std::vector<Record> records = read_records(file);
  const auto labels = detail::labels_beside(records, file, "label", 0, 1);
  std::vector<Question> questions;
  for (std::size_t i = 0; i < records.size(); ++i) {
    questions.push_back({{fmt::format("Question: {}\nAnswer:", records[i].text("goal"))},
                         {records[i].text("sol1"), records[i].text("sol2")},
                         detail::answer_of(records, labels, i, "label", 0, 1)});
  }
  return questions;
}

/// ARC (Clark et al. 2018): lines with question.stem, question.choices of text and label, and answerKey, letters or
/// digits.
inline std::vector<Question> read_arc(const std::filesystem::path& file) {
  std::vector<Question> questions;
  for (const Record& record : read_records(file)) {
    require<DataError>(record.has("answerKey"), "{}: line {}: has no answer: 'answerKey' is missing", record.file(),
                       record.line());
    const Record question = record.object("question");
    Question q{{fmt::format("Question: {}\nAnswer:", question.text("stem"))}, {}, 0};
    std::vector<std::string> labels;
    for (const Record& choice : question.objects("choices")) {
      q.choices.push_back(choice.text("text"));
      labels.push_back(choice.text("label"));
    }
    const std::string key = record.text("answerKey");
    // Some copies of the data set have letters for the answers and digits for the choices.
    const auto place = [&](const std::string& label) {
      return std::find(labels.begin(), labels.end(), label) - labels.begin();
    };
    const auto count = static_cast<std::ptrdiff_t>(labels.size());
    std::ptrdiff_t found = place(key);
    if (found == count && key.size() == 1 && key[0] >= 'A' && key[0] <= 'E')
      found = place(std::string(1, static_cast<char>(key[0] - 'A' + '1')));
    if (found == count && key.size() == 1 && key[0] >= '1' && key[0] <= '5')
      found = place(std::string(1, static_cast<char>(key[0] - '1' + 'A')));
    require<DataError>(found != count, "{}: line {}: 'answerKey' is '{}', expected one of {}", record.file(),
                       record.line(), shown(key), fmt::join(labels, ", "));
    q.answer = found;
    questions.push_back(std::move(q));
  }
  return questions;
}

/// HellaSwag (Zellers et al. 2019): lines with activity_label, ctx_a, ctx_b, endings and label.
inline std::vector<Question> read_hellaswag(const std::filesystem::path& file) {
  const std::vector<Record> records = read_records(file);
  const auto labels = detail::labels_beside(records, file, "label", 0, 3);
  std::vector<Question> questions;
  for (std::size_t i = 0; i < records.size(); ++i) {
    const Record& r = records[i];
    const std::string begin = r.text("ctx_a") + " " + python::capitalize(r.text("ctx_b"));
    Question q{{detail::hellaswag_text(r.text("activity_label") + ": " + begin)}, {}, 0};
    for (const std::string& ending : r.texts("endings")) q.choices.push_back(detail::hellaswag_text(ending));
    require<DataError>(q.choices.size() == 4, "{}: line {}: 'endings' holds {}, expected 4", r.file(), r.line(),
                       q.choices.size());
    q.answer = detail::answer_of(records, labels, i, "label", 0, 3);
    questions.push_back(std::move(q));
  }
  return questions;
}

/// WinoGrande (Sakaguchi et al. 2019): lines with sentence, option1, option2, and the answer 1 or 2 as `answer` or in
/// NAME-labels.lst.  The sentence is cut at its "_": what follows is scored behind each of the two beginnings.
inline std::vector<Question> read_winogrande(const std::filesystem::path& file) {
  const std::vector<Record> records = read_records(file);
  const auto labels = detail::labels_beside(records, file, "answer", 1, 2);
  std::vector<Question> questions;
  for (std::size_t i = 0; i < records.size(); ++i) {
    const Record& r = records[i];
    const std::string sentence = r.text("sentence");
    const std::size_t gap = sentence.find('_');
    require<DataError>(gap != sentence.npos, "{}: line {}: 'sentence' is '{}', expected a '_' in it", r.file(),
                       r.line(), shown(sentence));
    const std::string before = sentence.substr(0, gap),
                      behind(python::strip(std::string_view(sentence).substr(gap + 1)));
    questions.push_back({{before + r.text("option1"), before + r.text("option2")},
                         {behind, behind},
                         detail::answer_of(records, labels, i, "answer", 1, 2)});
  }
  return questions;
}

/// One of "piqa", "arc_easy", "arc_challenge", "hellaswag", "winogrande" from `data`, the folder of all tasks or of this
/// one.  Shots are drawn from the training set where it lies beside the questions.  Errors: DataError, FileError.
inline Benchmark read_commonsense(const std::string& name, const std::filesystem::path& data) {
  Benchmark task;
  task.name = name;
  const auto file = [&](const std::vector<std::string>& names) { return detail::require_file(name, data, names); };
  if (name == "piqa") {
    task.shots_exclude_question = true;  // as its file in the harness has it
    detail::fill(task, file({"piqa/valid.jsonl", "valid.jsonl"}), {"train.jsonl"}, read_piqa);
  } else if (name == "arc_easy" || name == "arc_challenge") {
    const std::string part = name.substr(4), published = part == "easy" ? "ARC-Easy" : "ARC-Challenge";
    const auto questions = file({"arc/" + part + "/test.jsonl", part + "/test.jsonl",
                                 published + "/" + published + "-Test.jsonl", published + "-Test.jsonl", "test.jsonl"});
    detail::fill(task, questions, {"train.jsonl", published + "-Train.jsonl", "dev.jsonl", published + "-Dev.jsonl"},
                 read_arc);
  } else if (name == "hellaswag") {
    task.shots_exclude_question = true;
    detail::fill(task, file({"hellaswag/hellaswag_val.jsonl", "hellaswag_val.jsonl"}), {"hellaswag_train.jsonl"},
                 read_hellaswag);
  } else if (name == "winogrande") {
    task.shots_exclude_question = true;
    task.normalized = false;
    detail::fill(task, file({"winogrande/dev.jsonl", "winogrande_1.1/dev.jsonl", "dev.jsonl"}), {"train_xl.jsonl"},
                 read_winogrande);
  } else {
    fail<ConfigError>("read_commonsense: there is no task '{}'", name);
  }
  return task;
}

}  // namespace lolcats
