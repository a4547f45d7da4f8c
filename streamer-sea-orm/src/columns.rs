//! Which columns of an active model were set.

use sea_orm::{
    ActiveModelTrait, ActiveValue, ColumnTrait, Condition, DbErr, EntityTrait, IdenStatic, Iterable, PrimaryKeyToColumn,
};

/// The columns that were set, in the order of their declaration, then the key columns that were not: PHP adds a generated
/// key last.
pub(crate) fn created_columns<E>(active: &E::ActiveModel) -> Vec<E::Column>
where
    E: EntityTrait,
{
    let is_set = |column: &E::Column| matches!(active.get(*column), ActiveValue::Set(_));
    let set = E::Column::iter().filter(is_set);
    let generated = E::PrimaryKey::iter().map(PrimaryKeyToColumn::into_column);
    let generated = generated.filter(|column: &E::Column| !is_set(column));
    set.chain(generated).collect()
}

/// The condition that finds the row of an active model by its key.
pub(crate) fn by_key<E>(active: &E::ActiveModel) -> Result<Condition, DbErr>
where
    E: EntityTrait,
{
    let mut condition = Condition::all();
    for key in E::PrimaryKey::iter() {
        let column = key.into_column();
        let value = active.get(column).into_value().ok_or_else(|| DbErr::PrimaryKeyNotSet {
            ctx: "model events: find the row by its key",
        })?;
        condition = condition.add(column.eq(value));
    }
    Ok(condition)
}

/// The name of a column in the database.
pub(crate) fn name<C: IdenStatic>(column: C) -> String {
    column.as_str().to_owned()
}
