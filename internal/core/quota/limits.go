package quota

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Limits are what the files of a project may take at most. Zero means no limit.
type Limits struct {
	Bytes, Inodes uint64
}

// Set sets the limit that the option key names, size or inodes. known is false if there is no such limit.
func (l *Limits) Set(key, value string) (known bool, err error) {
	switch key {
	case "size":
		l.Bytes, err = parseSize(value)
	case "inodes":
		l.Inodes, err = parseInodes(value)
	default:
		return false, nil
	}
	return true, err
}

// With returns the limits of a layer that has these options of its own, which replace those of l.
func (l Limits) With(options map[string]string) (Limits, error) {
	err := eachOption(options, func(key, value string) error {
		known, err := l.Set(key, value)
		if err == nil && !known {
			err = errors.New("layers have only the options size and inodes")
		}
		return err
	})
	return l, err
}

// NoLimits is Limits.With for a layer that cannot have limits: each option is an error.
func NoLimits(options map[string]string) (Limits, error) {
	return Limits{}, eachOption(options, func(string, string) error {
		return errors.New("only a layer that is created to be mounted writable can have the options size and inodes")
	})
}

// eachOption passes the options of a layer to call, sorted by key, and joins the errors.
func eachOption(options map[string]string, call func(key, value string) error) error {
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(options)) {
		if err := call(strings.ToLower(key), options[key]); err != nil {
			errs = append(errs, fmt.Errorf("storage option %s=%s: %w", key, options[key], err))
		}
	}
	return errors.Join(errs...)
}

// String returns the options that set these limits.
func (l Limits) String() string {
	var options []string
	if l.Bytes > 0 {
		options = append(options, fmt.Sprintf("size=%d", l.Bytes))
	}
	if l.Inodes > 0 {
		options = append(options, fmt.Sprintf("inodes=%d", l.Inodes))
	}
	return strings.Join(options, " and ")
}

// Allow reports whether files that take that much are within the limits.
func (l Limits) Allow(u Usage) bool {
	return (l.Bytes == 0 || u.Bytes <= l.Bytes) && (l.Inodes == 0 || u.Inodes <= l.Inodes)
}

// Leaving returns limits that leave room besides what u takes: it raises those of l that leave less, by no more than room. Without that
// bound, a container could fill the room each time, and take more and more. No limit stays no limit.
func (l Limits) Leaving(room Limits, u Usage) Limits {
	return Limits{Bytes: raised(l.Bytes, u.Bytes, room.Bytes), Inodes: raised(l.Inodes, u.Inodes, room.Inodes)}
}

func raised(limit, used, room uint64) uint64 {
	if limit == 0 {
		return 0
	}
	return max(limit, min(used, limit)+room)
}

// Usage is what the files and directories of a project take.
type Usage struct {
	Bytes, Inodes uint64
}

// units has the factor of each unit. The storage libraries take the same units, which are powers of 1024 with and without the "i".
var units = func() map[string]float64 {
	all := map[string]float64{"": 1, "b": 1}
	for n, letter := range []string{"k", "m", "g", "t", "p"} {
		for _, suffix := range []string{"", "b", "ib"} {
			all[letter+suffix] = math.Pow(1024, float64(n+1))
		}
	}
	return all
}()

// parseSize parses a number of bytes, such as 1073741824, 1.5g, 1G or "1 GiB". It rounds up: 0 would be no limit.
func parseSize(text string) (uint64, error) {
	const digits = "0123456789."
	end := strings.LastIndexAny(text, digits) + 1
	factor, ok := units[strings.ToLower(strings.TrimPrefix(text[end:], " "))]
	number, err := strconv.ParseFloat(text[:end], 64)
	if !ok || err != nil || strings.Trim(text[:end], digits) != "" {
		return 0, fmt.Errorf("%q is no size: write a number of bytes, or a number with the unit k, m, g, t or p", text)
	}
	if number*factor >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is too large for a size", text)
	}
	return uint64(math.Ceil(number * factor)), nil
}

func parseInodes(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	if errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("%q is too large for a number of inodes", text)
	}
	if err != nil {
		return 0, fmt.Errorf("%q is no number of inodes", text)
	}
	return n, nil
}
