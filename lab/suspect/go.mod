module irkit.dev/irkit/lab/suspect

go 1.26.0
