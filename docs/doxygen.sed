# Comments as Doxygen should read them: <B> is no tag of HTML, \s no command, M & N no entity.
/^ *\/\/\//{
  s/&/\&amp;/g
  s/</\&lt;/g
  s/\\/\\\\/g
}
# A specialisation in a namespace that is not read.
s/^struct fmt::formatter</struct formatter</
