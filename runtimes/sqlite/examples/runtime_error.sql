create table one (number integer check (number = 1));
select 'before';
insert into one values (2);
