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
	fmt.Fprint(w, `Times are medians of wall time for one operation. A ratio above 1 means that this module's driver is faster. The range in parentheses
follows from benchstat's ranges of both medians. A goal is the least ratio wanted, or the greatest where it says "at most". "yes" and "no"
hold for the whole range, "yes?" and "no?" only for the ratio of the medians. Growth is the extra time for one more of what the row counts,
compared with the row that has the fewest. Memory is what one operation allocates, and in how many pieces. "floor" is the work that no
driver with the same result can do without: the system calls that mount and unmount the same branches or make a layer durable, and the
library's unpacking of the same archive. Its ratio is the share of that work. A goal that the floor alone misses, by its whole range, is out
of reach. "first" is the first Get of a container on layers that were just unpacked; "later" is the same Get once more.
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
				fmt.Fprintf(w, "\nIn %s, the kernel refused %s a mount %s times per operation; the benchmark tried again each time.\n", row, driver, short(refused))
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
