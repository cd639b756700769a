// Package maintenance works on a whole store without mounting its layers: it checks the store, repairs it, and converts all layers to aufs form.
package maintenance
