package main

import (
	"fmt"
	"strconv"
	"strings"
)

// parts are the parts of a row's name.
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

// with returns the name of the row that has another value for one key.
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

// growth returns, for each key of a row, how much longer a driver takes for one more of what the key counts, compared
// with the row that has the lowest number. It leaves out keys without such a row.
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

// singular returns the name of one more of the things that the key counts.
func singular(key string) string {
	switch {
	case strings.HasSuffix(key, "sses"), strings.HasSuffix(key, "ches"):
		return "a " + strings.TrimSuffix(key, "es")
	default:
		return "a " + strings.TrimSuffix(key, "s")
	}
}
