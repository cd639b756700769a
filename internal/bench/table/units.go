package main

import (
	"math"
	"strconv"
)

// duration formats seconds with a fitting unit.
func duration(seconds float64) string {
	return scaled(seconds, []scale{{1, "s"}, {1e-3, "ms"}, {1e-6, "µs"}, {1e-9, "ns"}})
}

// size formats bytes with a fitting unit.
func size(bytes float64) string {
	return scaled(bytes, []scale{{1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}, {1, "B"}})
}

// count formats a number of things.
func count(n float64) string {
	if math.Abs(n) < 1e4 {
		return strconv.FormatFloat(n, 'f', 0, 64)
	}
	return scaled(n, []scale{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}})
}

type scale struct {
	factor float64
	unit   string
}

func scaled(x float64, scales []scale) string {
	for i, s := range scales {
		if math.Abs(x) >= s.factor || i == len(scales)-1 {
			decimals := 0
			if math.Abs(x)/s.factor < 9.95 {
				decimals = 1
			}
			return strconv.FormatFloat(x/s.factor, 'f', decimals, 64) + " " + s.unit
		}
	}
	return ""
}
