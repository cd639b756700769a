package main

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// branch is one directory of a union, with counts of its content.
type branch struct {
	Access    string // "rw" for the topmost branch, "ro" for the others.
	Path      string
	Files     int // Neither directories nor whiteouts.
	Dirs      int
	Whiteouts int
}

// drawBranches draws the stack of branches, the topmost first, and above it the
// directory that shows their union.
func drawBranches(mounted string, branches []branch) string {
	width := utf8.RuneCountInString(mounted)
	rows := branchRows(branches)
	for _, row := range rows {
		width = max(width, utf8.RuneCountInString(row))
	}
	line := strings.Repeat("─", width+2)
	var b strings.Builder
	fmt.Fprintf(&b, "┌%s┐\n│ %s │\n", line, pad(mounted, width))
	fmt.Fprintf(&b, "╞%s╡\n", strings.Repeat("═", width+2))
	for i, row := range rows {
		if i > 0 {
			fmt.Fprintf(&b, "├%s┤\n", line)
		}
		fmt.Fprintf(&b, "│ %s │\n", pad(row, width))
	}
	fmt.Fprintf(&b, "└%s┘\n", line)
	return b.String()
}

// branchRows returns one line for each branch, with aligned columns.
func branchRows(branches []branch) []string {
	names := 0
	for _, br := range branches {
		names = max(names, utf8.RuneCountInString(br.Path))
	}
	rows := make([]string, 0, len(branches))
	for _, br := range branches {
		rows = append(rows, fmt.Sprintf("%-2s  %s  %6d files  %5d dirs  %4d whiteouts",
			br.Access, pad(br.Path, names), br.Files, br.Dirs, br.Whiteouts))
	}
	return rows
}

// pad pads s with blanks to a width in characters.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(width-utf8.RuneCountInString(s), 0))
}
