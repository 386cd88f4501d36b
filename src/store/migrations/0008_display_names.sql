-- What users see a named workspace called, if not by its name.
ALTER TABLE servers ADD COLUMN display_name TEXT;
