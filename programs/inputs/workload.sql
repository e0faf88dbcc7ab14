-- Inserts, joins, indices, common table expressions, window functions, triggers, JSON and text search by LIKE.
CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT);
CREATE TABLE purchase (id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customer, amount REAL, day INTEGER);
CREATE TABLE log (what TEXT);
CREATE TRIGGER big AFTER INSERT ON purchase WHEN new.amount > 990 BEGIN
  INSERT INTO log VALUES ('purchase ' || new.id || ' of ' || new.amount);
END;

BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
  INSERT INTO customer SELECT i, printf('customer %03d', i * 37 % 200), substr('ABCDEFG', i % 7 + 1, 1) FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
  INSERT INTO purchase SELECT i, i * 7919 % 200 + 1, (i * 104729 % 100000) / 100.0, i % 365 FROM n;
COMMIT;

CREATE INDEX purchase_customer ON purchase (customer, day);
SELECT city, count(*), round(sum(amount), 2) FROM customer JOIN purchase ON customer = customer.id GROUP BY city ORDER BY city;
SELECT name, amount, rank() OVER (PARTITION BY city ORDER BY amount DESC) AS place
  FROM customer JOIN purchase ON customer = customer.id WHERE day = 17 ORDER BY place, name LIMIT 8;
SELECT count(*) FROM customer WHERE name LIKE '%7%' AND id IN (SELECT customer FROM purchase WHERE amount < 10);
UPDATE purchase SET amount = amount * 1.1 WHERE day BETWEEN 100 AND 200;
DELETE FROM purchase WHERE customer % 10 = 3;
SELECT count(*), round(avg(amount), 4), round(max(amount), 2) FROM purchase;
SELECT count(*), min(what) FROM log;
SELECT json_group_array(json_object('id', id, 'city', city)) FROM (SELECT * FROM customer ORDER BY name LIMIT 4);
SELECT value ->> 'a' FROM json_each('[{"a":1},{"a":"two"},{"a":null}]');
SELECT hex(zeroblob(3)), date(2451545), upper(trim('  text ')), typeof(9223372036854775807 + 1), 7 / 2, 7 % 3;
PRAGMA integrity_check;
