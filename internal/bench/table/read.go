package main

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A measure is a median and the spread of its true value, as a fraction of the median. The spread is infinite if there
// were too few rounds.
type measure struct{ median, spread float64 }

// A cell holds the measures of one row and one driver, by unit.
type cell map[string]measure

// stats are benchstat's results.
type stats struct {
	settings [][2]string // the properties of the machine
	rows     []string    // in their order
	cells    map[string]map[string]cell
}

var errNoStats = errors.New("there are no figures; benchstat is to be run with -format csv -col /driver")

// read reads benchstat's tables, one for each unit.
func read(in io.Reader) (*stats, error) {
	s := &stats{cells: map[string]map[string]cell{}}
	var drivers map[int]string // by columns
	unit := ""
	for lines := bufio.NewScanner(in); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, `"`) && drivers == nil {
			line = strings.Trim(line, `"`)
		}
		key, value, isSetting := strings.Cut(line, ": ")
		if line == "" || (isSetting && drivers == nil) {
			s.set(key, value)
			drivers = nil
			continue
		}
		fields, err := csv.NewReader(strings.NewReader(line)).Read()
		if err != nil {
			return nil, fmt.Errorf("benchstat's line %q: %w", line, err)
		}
		switch {
		case fields[0] == "" && drivers == nil:
			drivers, unit = columns(fields), ""
		case fields[0] == "" && unit == "" && len(fields) > 1:
			unit = fields[1]
		case fields[0] != "geomean":
			if err := s.add(fields, drivers, unit); err != nil {
				return nil, err
			}
		}
	}
	if len(s.rows) == 0 {
		return nil, errNoStats
	}
	return s, nil
}

// set stores a setting, unless it is there already.
func (s *stats) set(key, value string) {
	setting := [2]string{key, value}
	if key != "" && !slices.Contains(s.settings, setting) {
		s.settings = append(s.settings, setting)
	}
}

// setting returns the value of a setting, or "".
func (s *stats) setting(key string) string {
	for _, setting := range s.settings {
		if setting[0] == key {
			return setting[1]
		}
	}
	return ""
}

// columns returns the drivers by the columns at which they begin.
func columns(fields []string) map[int]string {
	drivers := map[int]string{}
	for i, field := range fields {
		if field != "" {
			drivers[i] = field
		}
	}
	return drivers
}

// processors matches the suffix that Go adds to a benchmark's name.
var processors = regexp.MustCompile(`-\d+$`)

// add adds a row of one unit.
func (s *stats) add(fields []string, drivers map[int]string, unit string) error {
	row := processors.ReplaceAllString(fields[0], "")
	if s.cells[row] == nil {
		s.rows = append(s.rows, row)
		s.cells[row] = map[string]cell{}
	}
	for column, driver := range drivers {
		if column+1 >= len(fields) || fields[column] == "" {
			continue
		}
		m, err := parseMeasure(fields[column], fields[column+1])
		if err != nil {
			return fmt.Errorf("benchstat's row %s: %w", row, err)
		}
		if s.cells[row][driver] == nil {
			s.cells[row][driver] = cell{}
		}
		s.cells[row][driver][unit] = m
	}
	return nil
}

func parseMeasure(median, spread string) (measure, error) {
	m := measure{spread: math.Inf(1)}
	var err error
	if m.median, err = strconv.ParseFloat(median, 64); err != nil {
		return m, err
	}
	if percent, ok := strings.CutSuffix(spread, "%"); ok {
		if m.spread, err = strconv.ParseFloat(percent, 64); err != nil {
			return m, err
		}
		m.spread /= 100
	}
	return m, nil
}
