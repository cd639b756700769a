package bench

import (
	"fmt"
	"regexp"
	"strings"
)

// A Case is one benchmark function.
type Case struct {
	// Name is the function's name without "Benchmark".
	Name string
	// Times is the number of operations in each round, for operations that are slow to prepare and quick to do. 0: as
	// many as fit into the benchmark time.
	Times int
	// Stores is the first case, in the order of Cases, whose stores this case can use too; "": it has its own.
	Stores string
	// Limited says that the layers have quotas, which not every file system has, nor every driver.
	Limited bool
	// Podman says that the case is in podman/internal/bench, because it needs what only go.podman.io/storage has.
	Podman bool
}

// Sizes of the benchmarks.
const (
	Full   = "full"
	Medium = "medium" // leaves out everything that takes minutes in an emulated machine
	Small  = "small"  // only shows that the benchmarks work
)

// Sizes returns all sizes.
func Sizes() []string { return []string{Full, Medium, Small} }

// Cases returns all cases, in the order of the table.
func Cases() []Case {
	return []Case{
		{Name: "GetPut"},
		{Name: "GetPutWritten"},
		{Name: "ImageStore"},
		{Name: "Volatile"},
		{Name: "Mapped", Times: 5},
		{Name: "GetFirst", Times: 5},
		{Name: "Changes"},
		{Name: "Diff"},
		{Name: "DiffApply", Stores: "Diff"},
		{Name: "DiffSize", Stores: "Diff"},
		{Name: "ReadWriteDiskUsage", Stores: "Diff"},
		{Name: "ApplyDiff"},
		{Name: "ApplyDiffStaging", Times: 5, Podman: true},
		{Name: "DeferredRemove", Times: 1},
		{Name: "Remove", Times: 1},
		{Name: "Cleanup", Times: 1},
		{Name: "Create"},
		{Name: "Exists", Stores: "Create"},
		{Name: "ListLayers", Stores: "Create"},
		{Name: "CreateLimited", Limited: true},
		{Name: "DiskUsageLimited", Limited: true},
		{Name: "Concurrent"},
		{Name: "Graphtest"},
		{Name: "GraphtestGetEmpty", Times: 100},
		{Name: "GraphtestDeepLayerRead", Times: 100},
	}
}

// StoresOf returns the name of the case after which the stores are named.
func (c Case) StoresOf() string {
	if c.Stores != "" {
		return c.Stores
	}
	return c.Name
}

// Select returns the cases that match the first part of a regular expression as for -test.bench, whose parts are
// separated by slashes. The rest of the expression is for the keys.
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
