#include "../train/tiny_rows.hpp"

#include <lolcats/distributed/meeting.hpp>

#include <doctest/doctest.h>

#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

using namespace lolcats;

namespace {

/// Another process that does f and then waits for its end.
template <class F>
pid_t another(F&& f) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::alarm(60);
  f();
  ::pause();
  ::_exit(0);
}

void end(pid_t child) {
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

}  // namespace

TEST_CASE("meeting: all get what rank 0 brings; who dies is noticed") {
  const tiny::TemporaryFolder folder;
  const Place place{0, 2, folder / ""};
  const pid_t other = another([&] {
    Meeting meeting({1, 2, folder / ""});
    if (meeting.agree("not this") == "the id") ::pause();
  });
  Meeting meeting(place);
  CHECK(meeting.agree("the id") == "the id");
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  CHECK(!meeting.lost());
  CHECK_THROWS_WITH_AS(Meeting{place}, doctest::Contains("another process is rank 0"), ConfigError);
  end(other);
  REQUIRE(meeting.lost());
  CHECK(meeting.lost()->first == 1);
  CHECK(meeting.lost()->second == "its process ended");
  CHECK_THROWS_WITH_AS(detail::wait_for([] { return false; }, [&] { return meeting.lost(); }), "rank 1 failed: its process ended", RankError);
}

TEST_CASE("meeting: who leaves says why") {
  const tiny::TemporaryFolder folder;
  const pid_t other = another([&] {
    Meeting meeting({1, 2, folder / ""});
    meeting.agree("");
    meeting.leave("no text");
    ::pause();
  });
  Meeting meeting({0, 2, folder / ""});
  meeting.agree("the id");
  for (int turn = 0; turn < 500 && !meeting.lost(); ++turn) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  CHECK_THROWS_WITH_AS(meeting.check(), "rank 1 failed: no text", RankError);
  // What was under way may still end well.
  int turns = 0;
  CHECK_NOTHROW(detail::wait_for([&] { return ++turns > 4100; }, [&] { return meeting.lost(); }));
  end(other);
}

TEST_CASE("shares follow each other and differ by one at most") {
  for (const Index n : {0, 1, 5, 12}) {
    for (const Index size : {1, 2, 3, 7}) {
      Index next = 0;
      for (Index rank = 0; rank < size; ++rank) {
        const Share share = share_of(n, rank, size);
        CHECK(share.first == next);
        CHECK((share.count() == n / size || share.count() == n / size + 1));
        next = share.last;
      }
      CHECK(next == n);
    }
  }
}

TEST_CASE("a place in the environment is whole, or an error") {
  CHECK(!place_from_environment());
  ::setenv("LOLCATS_RANKS", "2", 1);
  CHECK_THROWS_WITH_AS(place_from_environment(), "LOLCATS_RANK is not set, but LOLCATS_RANKS is", ConfigError);
  ::setenv("LOLCATS_RANK", "2", 1);
  ::setenv("LOLCATS_MEETING", "/somewhere", 1);
  CHECK_THROWS_WITH_AS(place_from_environment(), "LOLCATS_RANK is 2, expected less than LOLCATS_RANKS, 2", ConfigError);
  ::setenv("LOLCATS_RANK", "x", 1);
  CHECK_THROWS_WITH_AS(place_from_environment(), "LOLCATS_RANK is 'x', expected a number", ConfigError);
  ::setenv("LOLCATS_RANK", "1", 1);
  const auto place = place_from_environment();
  CHECK((place && place->rank == 1 && place->size == 2 && place->meeting == "/somewhere"));
  for (const char* name : {"LOLCATS_RANKS", "LOLCATS_RANK", "LOLCATS_MEETING"}) ::unsetenv(name);
}
