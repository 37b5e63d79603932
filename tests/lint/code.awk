# SPDX-License-Identifier: MIT
# Prints "FILE:LINE:code" with comments and the insides of strings removed, so
# that the lint looks at code only.  A string becomes "".
FNR == 1 { in_comment = 0 }
{
	line = $0
	out = ""
	while (line != "") {
		if (in_comment) {
			i = index(line, "*/")
			if (!i) { line = ""; break }
			line = substr(line, i + 2)
			in_comment = 0
			continue
		}
		# The first of: comment, string, character.
		if (!match(line, /\/\*|\/\/|["']/)) {
			out = out line
			break
		}
		out = out substr(line, 1, RSTART - 1)
		what = substr(line, RSTART, RLENGTH)
		line = substr(line, RSTART + RLENGTH)
		if (what == "/*") { in_comment = 1; continue }
		if (what == "//") break
		out = out what what
		while (line != "" && substr(line, 1, 1) != what)
			line = substr(line, substr(line, 1, 1) == "\\" ? 3 : 2)
		line = substr(line, 2)
	}
	if (out ~ /[^ \t]/)
		print FILENAME ":" FNR ":" out
}
