#include "support.hpp"

#include <lolcats/eval/tasks/task_result.hpp>

using namespace lolcats;

TEST_CASE("mean and standard error, against numpy") {
  // numpy: x = [1, 0, 1, 1]; x.mean() = 0.75, x.std(ddof=1) / 2 = 0.25
  const Metric metric = mean_metric("acc", std::vector<double>{1, 0, 1, 1});
  CHECK(metric.name == "acc");
  CHECK(metric.value == 0.75);
  CHECK(*metric.deviation == doctest::Approx(0.25).epsilon(1e-14));
  CHECK_FALSE(mean_metric("acc", std::vector<double>{1}).deviation.has_value());
  CHECK(*mean_metric("acc", std::vector<double>{0, 0}).deviation == 0);
}

TEST_CASE("groups: weighted with a pooled error, or the mean of means") {
  std::vector<TaskResult> tasks(2);
  tasks[0].scored = 10;
  tasks[0].metrics = {{"other", 7, 7.0}, {"acc", 0.5, 0.1}};
  tasks[1].scored = 30;
  tasks[1].metrics = {{"acc", 0.9, 0.05}};
  const Metric weighted = group_metric("acc", tasks, true);
  CHECK(weighted.value == doctest::Approx((10 * 0.5 + 30 * 0.9) / 40));
  // sqrt(((9 * 0.01 * 10) + (29 * 0.0025 * 30)) / 38 / 40) = sqrt((0.9 + 2.175) / 1520)
  CHECK(*weighted.deviation == doctest::Approx(std::sqrt(3.075 / 1520)));
  const Metric plain = group_metric("acc", tasks, false);
  CHECK(plain.value == doctest::Approx(0.7));
  CHECK(*plain.deviation == doctest::Approx(std::sqrt(0.0125) / 2));
  tasks[1].metrics[0].deviation.reset();
  CHECK_FALSE(group_metric("acc", tasks, true).deviation.has_value());
}

TEST_CASE("the harness's layout") {
  std::vector<TaskResult> tasks(2);
  tasks[0].name = "piqa";
  tasks[0].shots = 3;
  tasks[0].questions = 1838;
  tasks[0].scored = 200;
  tasks[0].cut = 1;
  tasks[0].metrics = {{"acc", 0.5, 0.25}, {"acc_norm", 1}};
  tasks[1].name = "mmlu";
  tasks[1].version = 2;
  tasks[1].subtasks = {"mmlu_a", "mmlu_b"};
  const auto json = results_json(tasks, {{"model", "m"}, {"limit", nullptr}});
  CHECK(json["results"]["piqa"].dump() ==
        R"({"alias":"piqa","acc,none":0.5,"acc_stderr,none":0.25,"acc_norm,none":1.0,"acc_norm_stderr,none":"N/A"})");
  CHECK(json["group_subtasks"].dump() == R"({"mmlu":["mmlu_a","mmlu_b"]})");
  CHECK(json["versions"].dump() == R"({"piqa":1,"mmlu":2})");
  CHECK(json["n-shot"]["piqa"] == 3);
  CHECK(json["n-samples"]["piqa"].dump() == R"({"original":1838,"effective":200})");
  CHECK(json["config"].dump() == R"({"model":"m","limit":null})");
  CHECK(json["details"]["piqa"]["prompts_cut"] == 1);
}

TEST_CASE("a table") {
  TaskResult result{"piqa"};
  result.scored = 200;
  result.seconds = 1.5;
  result.metrics = {{"acc", 0.641459, 0.0112}, {"perplexity", 25.03}};
  CHECK(table_header() == "task                                  n shots  metric           value    stderr  seconds");
  CHECK(table(result) ==
        "piqa                                200     0  acc             0.6415    0.0112      1.5\n"
        "                                               perplexity     25.0300\n");
}
