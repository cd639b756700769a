// Package maintenance looks at a whole store, without mounting its layers: it checks and repairs it, and converts all of it to aufs form.
package maintenance
