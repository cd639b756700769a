//go:build linux

package differential

import (
	"slices"
	"strings"
	"time"
)

// Shrink looks for a shorter script that fails as well, until it can leave
// nothing more out or the time is up. It returns the shortest script and that
// script's error. An operation that has become invalid does no harm, because it
// fails in the model as well.
func Shrink(script Script, deadline time.Time, run func(Script) error) (Script, error) {
	failure := run(script)
	try := func(candidate Script) bool {
		if time.Now().After(deadline) {
			return false
		}
		err := run(candidate)
		if err == nil {
			return false
		}
		script, failure = candidate, err
		return true
	}
	for _, name := range names() {
		try(script.withoutName(name))
	}
	for i := range script {
		for _, simplify := range simplifications {
			candidate := slices.Clone(script)
			if simplify(&candidate[i]) {
				try(candidate)
			}
		}
	}
	for before := -1; before != script.size() && time.Now().Before(deadline); {
		before = script.size()
		for i := len(script) - 1; i >= 0 && len(script) > 1; i-- {
			try(slices.Delete(slices.Clone(script), i, i+1))
		}
		for i := len(script) - 1; i >= 0; i-- {
			for n := len(script[i].Ops); n > 0; n /= 2 {
				for from := len(script[i].Ops) - n; from >= 0; from -= n {
					try(script.without(i, from, n))
				}
			}
		}
	}
	return script, failure
}

// simplifications each remove something from a layer, other than operations,
// and report whether the layer had it.
var simplifications = []func(*Layer) bool{
	func(l *Layer) (had bool) { had, l.Convert = l.Convert, false; return had },
	func(l *Layer) (had bool) { had, l.ReadOnly = l.ReadOnly, false; return had },
	func(l *Layer) (had bool) { had, l.Others = l.Others != 0, 0; return had },
}

// size returns the number of layers and operations.
func (s Script) size() int {
	n := len(s)
	for _, layer := range s {
		n += len(layer.Ops)
	}
	return n
}

// withoutName leaves out all operations on a name in the root, and on anything
// in the directory of that name.
func (s Script) withoutName(name string) Script {
	short := make(Script, len(s))
	for i, layer := range s {
		short[i] = layer
		short[i].Ops = nil
		for _, op := range layer.Ops {
			if !op.isIn(name) {
				short[i].Ops = append(short[i].Ops, op)
			}
		}
	}
	return short
}

// isIn reports whether one of the operation's paths begins with the name.
func (op Op) isIn(name string) bool {
	for i, kind := range verbs[op.Verb].args {
		if kind == argPath && strings.HasPrefix(op.Args[i]+"/", name+"/") {
			return true
		}
	}
	return false
}

// without leaves n operations out of the layer i, beginning at from.
func (s Script) without(i, from, n int) Script {
	s = slices.Clone(s)
	s[i].Ops = slices.Delete(slices.Clone(s[i].Ops), from, from+n)
	return s
}
