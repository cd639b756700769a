package bench

import (
	"slices"
	"testing"
)

func TestSelect(t *testing.T) {
	tests := []struct {
		expression string
		want       []string // nil: an error
		rest       string
	}{
		{"Cleanup", []string{"Cleanup"}, ""},
		{"^BenchmarkDiff$/files=1000/content=small", []string{"Diff"}, "files=1000/content=small"},
		{"kGetPut", []string{"GetPut", "GetPutWritten"}, ""},
		{"Nothing", nil, ""},
		{"(", nil, ""},
	}
	for _, test := range tests {
		cases, rest, err := Select(test.expression)
		var names []string
		for _, c := range cases {
			names = append(names, c.Name)
		}
		if !slices.Equal(names, test.want) || rest != test.rest || (err == nil) != (test.want != nil) {
			t.Errorf("%q: got %q, %q, %v", test.expression, names, rest, err)
		}
	}
	if cases, _, err := Select(""); err != nil || len(cases) != len(Cases()) {
		t.Errorf("without an expression: %d cases, %v", len(cases), err)
	}
}

func TestGoalOf(t *testing.T) {
	tests := []struct {
		row, other string
		want       float64 // 0: none
	}{
		{"GetPut/parents=120", InTree, 1.5},
		{"GetPut/parents=12", InTree, 0},
		{"GetPut/parents=120", Overlay, 0.9},
		{"GetPutWritten/marks=none/parents=30/files=1000", InTree, 1},
		{"GetPutWritten/marks=each/parents=30/files=1000", InTree, 0},
		{"GetPutWritten/marks=each/parents=30/files=1000", Overlay, 0.9},
		{"GetFirst/get=first/parents=30", Overlay, 0.9},
		{"GetFirst/get=uncached/parents=30", Overlay, 0},
		{"GetFirst/get=first/parents=30", Later, 1 / 1.3},
		{"GetFirst/get=later/parents=30", Later, 0},
		{"Cleanup/containers=50/files=1000", Overlay, 0.8},
		{"Changes/parents=100/files=1000/depth=4", InTree, 30},
		{"Diff/files=1000/content=large", TarPrefix, 0.8},
		{"DiffSize/files=10000", TarPrefix, 0},
		{"DiffSize/files=10000", InTree, 1},
	}
	for _, test := range tests {
		if got, ok := GoalOf(test.row, test.other); got != test.want || ok != (test.want > 0) {
			t.Errorf("%s against %s: got %v, %v", test.row, test.other, got, ok)
		}
	}
}
