"""Apply the EQF and ECTS tables of a country."""
