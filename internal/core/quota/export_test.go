//go:build linux

package quota

// Take is take, for tests.
func (p Project) Take(dir string, limited bool) (bool, error) { return p.take(dir, limited) }

// NewOf is newOf, for tests.
var NewOf = newOf
