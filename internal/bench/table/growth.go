package main

import (
	"fmt"
	"strconv"
	"strings"
)

// A row's name, in parts.
type parts struct {
	name string
	keys []string
	vals []string
}

func split(row string) parts {
	fields := strings.Split(row, "/")
	p := parts{name: fields[0]}
	for _, field := range fields[1:] {
		key, val, _ := strings.Cut(field, "=")
		p.keys, p.vals = append(p.keys, key), append(p.vals, val)
	}
	return p
}

// with is the name of the row that has another value for one key.
func (p parts) with(i int, val string) string {
	row := p.name
	for j, key := range p.keys {
		v := p.vals[j]
		if i == j {
			v = val
		}
		row += "/" + key + "=" + v
	}
	return row
}

// growth says, for each key of a row, how much longer a driver takes for each one more, since the row with the least of
// it. Nothing, if there is no such row.
func (s *stats) growth(row, driver string) string {
	here, ok := s.cells[row][driver][seconds]
	if !ok {
		return ""
	}
	var all []string
	p := split(row)
	for i, key := range p.keys {
		n, err := strconv.Atoi(p.vals[i])
		if err != nil {
			continue
		}
		least, at := n, ""
		for _, other := range s.rows {
			q := split(other)
			if len(q.vals) <= i {
				continue
			}
			if m, err := strconv.Atoi(q.vals[i]); err == nil && m < least && p.with(i, q.vals[i]) == other {
				least, at = m, other
			}
		}
		if before, ok := s.cells[at][driver][seconds]; ok {
			all = append(all, fmt.Sprintf("%s %s", duration((here.median-before.median)/float64(n-least)), singular(key)))
		}
	}
	return strings.Join(all, ", ")
}

// singular is what there is one more of.
func singular(key string) string {
	switch {
	case strings.HasSuffix(key, "sses"), strings.HasSuffix(key, "ches"):
		return "a " + strings.TrimSuffix(key, "es")
	default:
		return "a " + strings.TrimSuffix(key, "s")
	}
}
