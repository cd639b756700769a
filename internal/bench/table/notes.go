package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/bench"
)

// writeNotes writes an explanation of the table, and how many goals were met.
func (s *stats) writeNotes(w io.Writer) {
	fmt.Fprint(w, `Times are medians of wall time for one operation. A ratio above 1 says that this module's driver is faster; in
parentheses is between what it may be, by benchstat's ranges of both medians. A goal is the least ratio that is wanted: "yes" and
"no" hold for all of the range, "yes?" and "no?" for its middle. Growth is the time for one more of what the row has, since the row
that has the least. Memory is what one operation allocates, and in how many pieces. "floor" is what no driver
does without that does the same: the system calls that mount and unmount the same branches, or that make a layer durable; and the
library's unpacking of the same archive. Its ratio is their share. A goal that the floor alone misses, by all of its range, is out of
reach. "first" is the first Get of a container on layers that were just unpacked, "later" the same Get once more.
`)
	var missing []string
	for _, driver := range []string{bench.Ours, bench.InTree, bench.Overlay, bench.VFS, bench.OursOnOverlay, bench.TarPrefix} {
		if !s.has(driver) {
			missing = append(missing, driver)
		}
	}
	if len(missing) > 0 {
		fmt.Fprintf(w, "\nNot measured: %s.\n", strings.Join(missing, ", "))
	}
	if tars := s.tars(); len(tars) > 0 {
		fmt.Fprintf(w, "\ntar is %s.\n", strings.Join(tars, " and "))
	}
	s.writeRefused(w)
	s.writeVerdicts(w)
}

// tars returns the names of the tars that were measured.
func (s *stats) tars() (names []string) {
	for _, row := range s.rows {
		for driver := range s.cells[row] {
			if strings.HasPrefix(driver, bench.TarPrefix) && !slices.Contains(names, driver) {
				names = append(names, driver)
			}
		}
	}
	slices.Sort(names)
	return names
}

// refusedOp is the unit of mounts that were refused and tried again.
const refusedOp = "refused/op"

func (s *stats) writeRefused(w io.Writer) {
	for _, row := range s.rows {
		for _, driver := range []string{bench.Ours, bench.InTree, bench.Overlay, bench.OursOnOverlay} {
			if refused := s.cells[row][driver][refusedOp].median; refused > 0 {
				fmt.Fprintf(w, "\nIn %s, %s was refused a mount, and tried again, %s times in each operation.\n", row, driver, short(refused))
			}
		}
	}
}

// writeVerdicts counts the goals.
func (s *stats) writeVerdicts(w io.Writer) {
	counts := map[verdict]int{}
	for _, pair := range [][2]string{
		{bench.Ours, bench.InTree}, {bench.OursOnOverlay, bench.Overlay}, {s.own(), bench.TarPrefix},
	} {
		for _, row := range s.rows {
			least, wanted := bench.GoalOf(row, pair[1])
			if r, ok := s.over(row, pair[0], pair[1]); ok && wanted {
				counts[s.verdict(row, pair[0], pair[1], r, least)]++
			}
		}
	}
	for _, driver := range []string{bench.Ours, bench.OursOnOverlay} {
		for _, row := range s.rows {
			if v, ok := s.firstVerdict(row, driver); ok {
				counts[v]++
			}
		}
	}
	fmt.Fprintf(w, "\nGoals: %d met, %d rather met, %d rather missed, %d missed, %d out of reach.\n",
		counts[met], counts[rather], counts[ratherNot], counts[missed], counts[outOfReach])
}
