#include <doctest/doctest.h>
#include <lolcats/data/documents.hpp>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

using lolcats::DataError, lolcats::FileError, lolcats::split_documents;
using Texts = std::vector<std::string>;

TEST_CASE("documents stand between separator lines and are stripped") {
  CHECK(split_documents("one") == Texts{"one"});
  CHECK(split_documents("  one\n\n<|endoftext|>\n\ttwo\nlines \n<|endoftext|>\nthree") ==
        Texts{"one", "two\nlines", "three"});
  CHECK(split_documents("one\n<|endoftext|>\n") == Texts{"one"});
  CHECK(split_documents("one\n<|endoftext|>") == Texts{"one"});
  CHECK(split_documents("one\r\n<|endoftext|>\r\ntwo\r\n") == Texts{"one", "two"});
}

TEST_CASE("a separator inside a line is text") {
  CHECK(split_documents("a <|endoftext|>\n<|endoftext|> b").size() == 1);
}

TEST_CASE("nothing to read is an error") {
  for (const char* text :
       {"", " \n\t\n", "<|endoftext|>\n", "a\n<|endoftext|>\n \n<|endoftext|>\nb", "<|endoftext|>\na"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(split_documents(text), DataError);
  }
  CHECK_THROWS_WITH_AS(split_documents("a\n<|endoftext|>\n<|endoftext|>\nb", "x.txt"),
                       "x.txt: document 1 is empty (line 3)", DataError);
  CHECK_THROWS_AS(lolcats::read_documents("/no/such/file"), FileError);
  CHECK_THROWS_AS(lolcats::read_documents(std::filesystem::temp_directory_path()), lolcats::Error);
}

TEST_CASE("documents that are joined can be split again") {
  const Texts texts{"one", "two\n\nlines", "three"};
  CHECK(split_documents(lolcats::join_documents(texts)) == texts);
}

TEST_CASE("real stories") {
  const char* root = std::getenv("LOLCATS_DATA");
  if (!root) {
    MESSAGE("skipped: LOLCATS_DATA is not set");
    return;
  }
  CHECK(lolcats::read_documents(std::filesystem::path(root) / "tinystories/train.txt").size() == 900);
  CHECK(lolcats::read_documents(std::filesystem::path(root) / "tinystories/valid.txt").size() == 100);
}
