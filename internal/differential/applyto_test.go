//go:build linux

package differential

import graphdriver "github.com/containers/storage/drivers"

func (f faulty) ApplyDiff(id, parent string, options graphdriver.ApplyDiffOpts) (int64, error) {
	options, err := f.filtered(options)
	if err != nil {
		return 0, err
	}
	return f.Driver.ApplyDiff(id, parent, options)
}
