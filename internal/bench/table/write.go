package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/seed-642172e2/aufs/internal/bench"
)

// Units, as benchstat calls them.
const (
	seconds   = "sec/op"
	bytesOp   = "B/op"
	allocsOp  = "allocs/op"
	peakBytes = "peak-B"
)

// A column is one of the table.
type column struct {
	title string
	cell  func(row string) string
}

// write writes the table and what is to be known of it.
func write(w io.Writer, s *stats) {
	for _, setting := range s.settings {
		fmt.Fprintf(w, "- %s: %s\n", setting[0], setting[1])
	}
	fmt.Fprintln(w)
	columns := s.filled(s.columns())
	var titles, rule []string
	for _, c := range columns {
		titles, rule = append(titles, c.title), append(rule, "---")
	}
	line(w, titles)
	line(w, rule)
	for _, row := range s.rows {
		var cells []string
		for _, c := range columns {
			cells = append(cells, c.cell(row))
		}
		line(w, cells)
	}
	fmt.Fprintln(w)
	s.writeNotes(w)
}

func line(w io.Writer, cells []string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }

// filled leaves out the columns that are empty.
func (s *stats) filled(columns []column) (kept []column) {
	for _, c := range columns {
		for _, row := range s.rows {
			if c.cell(row) != "" {
				kept = append(kept, c)
				break
			}
		}
	}
	return kept
}

// columns are all that a table can have. A driver that copies, and tar, are compared with the aufs backend, or on a kernel
// without aufs with the overlay backend.
func (s *stats) columns() []column {
	own := s.own()
	columns := []column{{"case", func(row string) string { return row }}}
	columns = append(columns, s.pair(bench.Ours, "aufs", bench.InTree, "in-tree")...)
	if own == bench.Ours {
		columns = append(columns, s.ratio(own, bench.Overlay, "overlay ÷ aufs")...)
	}
	columns = append(columns, s.ratio(own, bench.Floor, "floor ÷ "+own)...)
	columns = append(columns, s.ratio(own, bench.VFS, "vfs ÷ "+own)...)
	columns = append(columns, s.ratio(own, bench.TarPrefix, "tar ÷ "+own)...)
	columns = append(columns, s.pair(bench.OursOnOverlay, "aufs-overlay", bench.Overlay, "overlay")...)
	return append(columns, s.ratio(bench.OursOnOverlay, bench.FloorOverlay, "floor-overlay ÷ aufs-overlay")...)
}

// own is the backend that all but the overlay driver is compared with.
func (s *stats) own() string {
	if s.has(bench.Ours) {
		return bench.Ours
	}
	return bench.OursOnOverlay
}

// pair are the columns about this module's driver and the one that it stands in for.
func (s *stats) pair(own, ownTitle, other, otherTitle string) []column {
	columns := []column{
		{ownTitle, func(row string) string { return s.time(row, own) }},
	}
	columns = append(columns, s.ratio(own, other, otherTitle+" ÷ "+ownTitle)...)
	both := func(say func(row, driver string) string) func(row string) string {
		return func(row string) string {
			a, b := say(row, own), say(row, other)
			if a == "" || b == "" {
				return a + b
			}
			return a + " (" + b + ")"
		}
	}
	return append(columns,
		column{"growth of " + ownTitle + " (" + otherTitle + ")", both(s.growth)},
		column{"memory of " + ownTitle + " (" + otherTitle + ")", both(s.memory)})
}

// ratio are the columns of a ratio and its goal.
func (s *stats) ratio(own, other, title string) []column {
	return []column{
		{title, func(row string) string {
			if r, ok := s.over(row, own, other); ok {
				return r.String()
			}
			return ""
		}},
		{"goal", func(row string) string {
			least, wanted := bench.GoalOf(row, other)
			r, ok := s.over(row, own, other)
			// The goals for the overlay driver are those of the overlay backend.
			if !wanted || !ok || (other == bench.Overlay && own != bench.OursOnOverlay) {
				return ""
			}
			return fmt.Sprintf("%s: %s", short(least), s.verdict(row, own, other, r, least))
		}},
	}
}

// verdict is about the goal that other takes at least least times as long as own; that is r. A goal that is missed is out of reach if
// the floor alone misses it as well, by all of its range.
func (s *stats) verdict(row, own, other string, r ratio, least float64) verdict {
	v := r.verdict(least)
	floor := map[string]string{bench.Ours: bench.Floor, bench.OursOnOverlay: bench.FloorOverlay}[own]
	if most, ok := s.over(row, floor, other); ok && v == missed && most.most < least {
		return outOfReach
	}
	return v
}

// over is the ratio of two drivers' times.
func (s *stats) over(row, own, other string) (ratio, bool) {
	a, ok := s.cells[row][own][seconds]
	b, otherOK := s.find(row, other)[seconds]
	if !ok || !otherOK || a.median == 0 {
		return ratio{}, false
	}
	return over(b, a), true
}

// find is the cell of a driver, or of any tar.
func (s *stats) find(row, driver string) cell {
	if driver != bench.TarPrefix {
		return s.cells[row][driver]
	}
	for name, c := range s.cells[row] {
		if strings.HasPrefix(name, bench.TarPrefix) {
			return c
		}
	}
	return nil
}

func (s *stats) time(row, driver string) string {
	m, ok := s.cells[row][driver][seconds]
	if !ok {
		return ""
	}
	return duration(m.median)
}

// memory is what a driver allocates, and the most of it that is live at once.
func (s *stats) memory(row, driver string) string {
	c := s.cells[row][driver]
	bytes, ok := c[bytesOp]
	if !ok {
		return ""
	}
	text := fmt.Sprintf("%s in %s", size(bytes.median), count(c[allocsOp].median))
	if peak, ok := c[peakBytes]; ok {
		text += ", peak " + size(peak.median)
	}
	return text
}

// has tells if there is any figure of a driver.
func (s *stats) has(driver string) bool {
	for _, row := range s.rows {
		if len(s.find(row, driver)) > 0 {
			return true
		}
	}
	return false
}
