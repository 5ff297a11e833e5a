select 'before';
selec 'never';
