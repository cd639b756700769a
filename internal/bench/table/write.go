package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/bench"
)

// Units, by benchstat's names.
const (
	seconds   = "sec/op"
	bytesOp   = "B/op"
	allocsOp  = "allocs/op"
	peakBytes = "peak-B"
)

// A column is a column of the table.
type column struct {
	title string
	cell  func(row string) string
}

// write writes the table and its explanation.
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

// filled leaves out empty columns.
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

// columns returns all columns that a table can have. Drivers that copy, and tar, are compared with the aufs backend or, on
// a kernel without aufs, with the overlay backend.
func (s *stats) columns() []column {
	own := s.own()
	columns := []column{{"case", func(row string) string { return row }}}
	columns = append(columns, s.pair(bench.Ours, "aufs", bench.InTree, s.inTree())...)
	if own == bench.Ours {
		columns = append(columns, s.ratio(own, bench.Overlay, "overlay ÷ aufs")...)
	}
	columns = append(columns, s.ratio(own, bench.Floor, "floor ÷ "+own)...)
	columns = append(columns, s.ratio(own, bench.VFS, "vfs ÷ "+own)...)
	columns = append(columns, s.ratio(own, bench.TarPrefix, "tar ÷ "+own)...)
	columns = append(columns, s.pair(bench.OursOnOverlay, "aufs-overlay", bench.Overlay, "overlay")...)
	columns = append(columns, s.ratio(bench.OursOnOverlay, bench.FloorOverlay, "floor-overlay ÷ aufs-overlay")...)
	for _, driver := range compared() {
		columns = append(columns, s.first(driver)...)
	}
	return columns
}

// compared returns the drivers whose first Get is compared with a later one. Those of this module have a goal.
func compared() []string {
	return []string{bench.Ours, bench.OursOnOverlay, bench.InTree, bench.Overlay}
}

// inTree returns the title of the in-tree driver. The title says whether the driver ran auplink, which takes much of its time.
func (s *stats) inTree() string {
	switch auplink := s.setting("auplink"); {
	case auplink == "":
		return "in-tree"
	case strings.HasPrefix(auplink, bench.NoAuplink):
		return "in-tree without auplink"
	default:
		return "in-tree with auplink"
	}
}

// own returns the backend that floor, vfs and tar are compared with: aufs or, on a kernel without aufs, overlay.
func (s *stats) own() string {
	if s.has(bench.Ours) {
		return bench.Ours
	}
	return bench.OursOnOverlay
}

// pair returns the columns about this module's driver and the driver that it replaces.
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

// ratio returns the columns of a ratio and its goal.
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
			// The goals against the overlay driver are for the overlay backend only.
			if !wanted || !ok || (other == bench.Overlay && own != bench.OursOnOverlay) {
				return ""
			}
			return fmt.Sprintf("%s: %s", short(least), s.verdict(row, own, other, r, least))
		}},
	}
}

// first returns the columns that compare a driver's first Get with a later Get.
func (s *stats) first(driver string) []column {
	columns := []column{{"first ÷ later of " + driver, func(row string) string {
		if r, ok := s.firstOverLater(row, driver); ok {
			return r.String()
		}
		return ""
	}}}
	if driver != bench.Ours && driver != bench.OursOnOverlay {
		return columns
	}
	return append(columns, column{"goal", func(row string) string {
		if v, ok := s.firstVerdict(row, driver); ok {
			return fmt.Sprintf("%s at most: %s", short(bench.MostFirst), v)
		}
		return ""
	}})
}

// firstVerdict returns the verdict on the goal for the time of the first Get, compared with a later Get.
func (s *stats) firstVerdict(row, driver string) (verdict, bool) {
	first, later, ok := s.firstAndLater(row, driver)
	least, wanted := bench.GoalOf(row, bench.Later)
	if !ok || !wanted {
		return "", false
	}
	return over(later, first).verdict(least), true
}

func (s *stats) firstOverLater(row, driver string) (ratio, bool) {
	first, later, ok := s.firstAndLater(row, driver)
	return over(first, later), ok
}

// firstAndLater returns the time in a row about the first Get, and the time in the row about a later Get of the same container.
func (s *stats) firstAndLater(row, driver string) (first, later measure, ok bool) {
	p := split(row)
	i := slices.Index(p.keys, "get")
	if i < 0 || p.vals[i] != bench.First {
		return measure{}, measure{}, false
	}
	first, ok = s.cells[row][driver][seconds]
	later, laterOK := s.cells[p.with(i, bench.Later)][driver][seconds]
	return first, later, ok && laterOK
}

// verdict returns the verdict on the goal that r, the time of other divided by that of own, is not below least. A
// missed goal is out of reach if the whole range of the floor alone misses it too.
func (s *stats) verdict(row, own, other string, r ratio, least float64) verdict {
	v := r.verdict(least)
	floor := map[string]string{bench.Ours: bench.Floor, bench.OursOnOverlay: bench.FloorOverlay}[own]
	if most, ok := s.over(row, floor, other); ok && v == missed && most.most < least {
		return outOfReach
	}
	return v
}

// over returns the ratio of two drivers' times.
func (s *stats) over(row, own, other string) (ratio, bool) {
	a, ok := s.cells[row][own][seconds]
	b, otherOK := s.find(row, other)[seconds]
	if !ok || !otherOK || a.median == 0 {
		return ratio{}, false
	}
	return over(b, a), true
}

// find returns the cell of a driver, or of any tar.
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

// memory returns what a driver allocates, and the most of it that is live at once.
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

// has reports whether there is any figure of a driver.
func (s *stats) has(driver string) bool {
	for _, row := range s.rows {
		if len(s.find(row, driver)) > 0 {
			return true
		}
	}
	return false
}
