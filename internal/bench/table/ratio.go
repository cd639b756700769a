package main

import (
	"fmt"
	"math"
	"strconv"
)

// A ratio is one time divided by another, with the range of the quotient.
type ratio struct {
	median, least, most float64
	known               bool // whether least and most are known
}

// over divides the measures of two drivers.
func over(other, own measure) ratio {
	r := ratio{median: other.median / own.median, most: math.Inf(1)}
	if r.known = !math.IsInf(own.spread+other.spread, 1); !r.known {
		return r
	}
	r.least = r.median * max(0, 1-other.spread) / (1 + own.spread)
	if own.spread < 1 {
		r.most = r.median * (1 + other.spread) / (1 - own.spread)
	}
	return r
}

func (r ratio) String() string {
	if !r.known {
		return short(r.median)
	}
	most := "?"
	if !math.IsInf(r.most, 1) {
		most = short(r.most)
	}
	return fmt.Sprintf("%s (%s–%s)", short(r.median), short(r.least), most)
}

// verdict reports how the goal is met: by the whole range, or by the median alone.
func (r ratio) verdict(least float64) verdict {
	switch {
	case r.least >= least:
		return met
	case r.most < least:
		return missed
	case r.median >= least:
		return rather
	default:
		return ratherNot
	}
}

// A verdict says how one goal is met.
type verdict string

const (
	met       verdict = "yes"
	rather    verdict = "yes?" // but the range reaches below the goal
	ratherNot verdict = "no?"  // but the range reaches above the goal
	missed    verdict = "no"
	// outOfReach replaces missed if the floor alone misses the goal, without the driver's own work.
	outOfReach verdict = "out of reach"
)

// short writes a number with two significant digits, and one of 10 or more without decimals.
func short(x float64) string {
	switch {
	case x < 0.1:
		return strconv.FormatFloat(x, 'g', 2, 64)
	case x < 0.995:
		return strconv.FormatFloat(x, 'f', 2, 64)
	case x < 9.95:
		return strconv.FormatFloat(x, 'f', 1, 64)
	default:
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
}
