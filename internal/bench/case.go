package bench

import (
	"fmt"
	"regexp"
	"strings"
)

// A Case is one benchmark function.
type Case struct {
	// Name is that of the function, without "Benchmark".
	Name string
	// Times is how often an operation is done in each round: one that takes long to prepare, and little time itself, is
	// counted. 0: for as long as the rounds are to be.
	Times int
	// Stores is the first of those cases, in their order, whose stores this one can use as well; "": it has its own.
	Stores string
}

// Sizes of the benchmarks.
const (
	Full   = "full"
	Medium = "medium" // with what takes minutes in an emulated machine left out
	Small  = "small"  // which shows that the benchmarks work, and no more
)

// Sizes are all sizes.
func Sizes() []string { return []string{Full, Medium, Small} }

// Cases are all cases, in the order of the table.
func Cases() []Case {
	return []Case{
		{Name: "GetPut"},
		{Name: "GetPutWritten"},
		{Name: "GetFirst", Times: 5},
		{Name: "Changes"},
		{Name: "Diff"},
		{Name: "DiffApply", Stores: "Diff"},
		{Name: "DiffSize", Stores: "Diff"},
		{Name: "ReadWriteDiskUsage", Stores: "Diff"},
		{Name: "ApplyDiff"},
		{Name: "DeferredRemove", Times: 1},
		{Name: "Remove", Times: 1},
		{Name: "Cleanup", Times: 1},
		{Name: "Create"},
		{Name: "Exists", Stores: "Create"},
		{Name: "ListLayers", Stores: "Create"},
		{Name: "Concurrent"},
		{Name: "Graphtest"},
		{Name: "GraphtestGetEmpty", Times: 100},
		{Name: "GraphtestDeepLayerRead", Times: 100},
	}
}

// StoresOf is the name of the case that the stores are called after.
func (c Case) StoresOf() string {
	if c.Stores != "" {
		return c.Stores
	}
	return c.Name
}

// Select returns the cases that a regular expression of -test.bench, in parts with slashes, is about; and what its first
// part leaves for the keys.
func Select(expression string) (chosen []Case, rest string, err error) {
	first, rest, _ := strings.Cut(expression, "/")
	re, err := regexp.Compile(first)
	if err != nil {
		return nil, "", fmt.Errorf("which benchmarks: %w", err)
	}
	for _, c := range Cases() {
		if re.MatchString("Benchmark" + c.Name) {
			chosen = append(chosen, c)
		}
	}
	if len(chosen) == 0 {
		return nil, "", fmt.Errorf("no benchmark is called %q", first)
	}
	return chosen, rest, nil
}
