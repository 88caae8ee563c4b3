// Comma-separated values, as Python's csv module reads them.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace lolcats {

/// One record and the line of the file on which it begins, from 1.
struct CsvRow {
  Index line = 0;
  std::vector<std::string> cells;
};

/// Records of cells.  A cell that begins with a quotation mark goes on to the next single one: commas and line ends
/// inside are text and two quotation marks are one.  Lines end with LF or CR LF; empty lines are skipped; a byte order
/// mark is.  `file` names the text in errors.  Throws DataError for a quotation that does not end.
inline std::vector<CsvRow> parse_csv(std::string_view text, const std::string& file) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  std::vector<CsvRow> rows;
  Index line = 1;
  std::size_t at = 0;
  const auto line_end = [&] {  // bytes of the line end here, 0: none
    if (at < text.size() && text[at] == '\n') return 1;
    return at + 1 < text.size() && text[at] == '\r' && text[at + 1] == '\n' ? 2 : 0;
  };
  while (at < text.size()) {
    CsvRow row{line, {}};
    bool quoted_any = false;
    for (;;) {
      std::string cell;
      if (at < text.size() && text[at] == '"') {
        quoted_any = true;
        const Index opened = line;
        for (++at;; ++at) {
          require<DataError>(at < text.size(), "{}: line {}: a quotation mark opens a cell that does not end", file,
                             opened);
          if (text[at] == '"' && (at + 1 == text.size() || text[at + 1] != '"')) break;
          if (text[at] == '"') ++at;
          line += text[at] == '\n';
          cell += text[at];
        }
        ++at;
      }
      while (at < text.size() && text[at] != ',' && line_end() == 0) cell += text[at++];
      row.cells.push_back(std::move(cell));
      if (at == text.size() || text[at] != ',') break;
      ++at;
    }
    at += static_cast<std::size_t>(line_end());
    ++line;
    if (row.cells.size() > 1 || !row.cells[0].empty() || quoted_any) rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace lolcats
